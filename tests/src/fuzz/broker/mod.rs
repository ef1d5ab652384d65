//! Arbitrary calls of a broker, against what must hold whatever is called.
//!
//! A script is a list of events: a byte that says which, as listed in `events`, and the choices of
//! that event. `world` makes the calls as a runtime does, follows the actions and reads what the
//! broker sends; `model` knows what was published and who asked for what, and judges each message
//! that arrives; `limits` looks at the gauges after every event. An event that is new goes to the
//! end of the list and needs nothing else.

mod choices;
mod events;
mod limits;
mod link;
mod local;
mod model;
mod world;

use super::input::Input;
use world::World;

/// How many events a script may have. More would make it slow, not more telling.
const EVENTS: usize = 300;

/// Plays a script of events to its end, and then ends whatever is left. Returns how many messages
/// arrived.
pub fn broker(script: &[u8]) -> usize {
    let mut input = Input::new(script);
    let mut world = World::new(&mut input.take(choices::CONFIG));
    for _ in 0..EVENTS {
        if input.is_empty() {
            break;
        }
        let number = usize::from(input.byte() % 64);
        if let Some(event) = events::EVENTS.get(number) {
            (event.call)(&mut world, &mut input.take(event.choices));
            world.after_event();
        }
    }
    world.end()
}

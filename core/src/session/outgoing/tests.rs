//! Messages on their way to a client, against lists that are searched from their beginnings.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::message::Message;

/// What can happen to a session's messages.
#[derive(Clone, Debug)]
enum Call {
    /// A message waits: its QoS, and how long its payload is.
    Enqueue(QoS, usize),
    /// As many as wait and this window has room for are sent.
    Send(u16),
    /// The client answers the message in flight at this place.
    Answer(usize, Answer),
    /// The client answers what is not in flight.
    AnswerNothing(u16, Answer),
    Reconnect,
    /// What is next of those to be sent again is sent again, or given up.
    Resend(bool),
}

fn call() -> impl Strategy<Value = Call> {
    let qos = || {
        prop::sample::select(std::vec![
            QoS::AtMostOnce,
            QoS::AtLeastOnce,
            QoS::ExactlyOnce
        ])
    };
    let answer = || {
        prop::sample::select(std::vec![
            Answer::Acknowledged,
            Answer::Received,
            Answer::Rejected,
            Answer::Completed,
        ])
    };
    prop_oneof![
        6 => (qos(), 0usize..20).prop_map(|(qos, len)| Call::Enqueue(qos, len)),
        4 => (1u16..8).prop_map(Call::Send),
        10 => (0usize..8, answer()).prop_map(|(place, answer)| Call::Answer(place, answer)),
        1 => (1u16..30, answer()).prop_map(|(id, answer)| Call::AnswerNothing(id, answer)),
        1 => Just(Call::Reconnect),
        3 => any::<bool>().prop_map(Call::Resend),
    ]
}

fn delivery(qos: QoS, len: usize) -> Delivery {
    let payload = std::vec![0; len];
    let message = Message {
        topic: "t",
        payload: &payload,
        qos,
        retain: false,
        properties: &[],
        expiry: None,
        packet: None,
        known: None,
        shared: None,
    };
    Delivery {
        message: Kept::new(&message, 0, 0, Instant::default()),
        identifiers: Identifiers::None,
        group: GroupId::default(),
        qos,
        retain: false,
        replayed: false,
        dup: false,
        row: Row::default(),
    }
}

/// A message in flight.
#[derive(Clone, Copy, Debug)]
struct Flying {
    id: PacketId,
    qos: QoS,
    phase: Phase,
    /// The length of its payload, as long as it is held.
    held: Option<usize>,
    /// Whether it was sent on this connection.
    is_sent: bool,
}

#[derive(Default)]
struct Model {
    waiting: Vec<(QoS, usize)>,
    flying: Vec<Flying>,
}

impl Model {
    fn answer(&mut self, place: usize, answer: Answer) -> &'static str {
        let message = &mut self.flying[place];
        match (message.phase, message.qos, answer) {
            (Phase::Publish, QoS::AtLeastOnce, Answer::Acknowledged)
            | (Phase::Publish, QoS::ExactlyOnce, Answer::Rejected)
            | (Phase::Release, _, Answer::Completed | Answer::Rejected) => {
                self.flying.remove(place);
                "done"
            }
            (Phase::Publish, QoS::ExactlyOnce, Answer::Received)
            | (Phase::Release, _, Answer::Received) => {
                message.phase = Phase::Release;
                message.held = None;
                "release"
            }
            _ => "violation",
        }
    }

    fn in_window(&self) -> usize {
        self.flying.iter().filter(|it| it.is_sent).count()
    }

    fn assert_is(&self, outgoing: &mut Outgoing) {
        let with_topic = |len: usize| len + 1;
        let waiting: usize = self.waiting.iter().map(|(_, len)| with_topic(*len)).sum();
        let held = self.flying.iter().filter_map(|it| it.held).map(with_topic);
        assert_eq!(outgoing.len(), self.waiting.len() + self.flying.len());
        assert_eq!(outgoing.in_flight(), self.flying.len());
        assert_eq!(outgoing.waiting(), self.waiting.len());
        assert_eq!(outgoing.waiting_bytes(), waiting);
        assert_eq!(outgoing.bytes(), waiting + held.sum::<usize>());
        let has_qos0 = self.waiting.iter().any(|(qos, _)| *qos == QoS::AtMostOnce);
        assert_eq!(outgoing.has_waiting_qos0(), has_qos0);
        for window in 1..10u16 {
            let has_window = self.in_window() < usize::from(window);
            assert_eq!(outgoing.has_window(window), has_window, "{window}");
        }
        let unanswered = self.flying.iter().filter(|it| it.is_sent).map(|it| it.id);
        assert!(outgoing.unanswered().map(|(id, _)| id).eq(unanswered));
    }
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::Release(_) => "release",
        Outcome::Unknown => "unknown",
        Outcome::Violation => "violation",
    }
}

fn send(outgoing: &mut Outgoing, model: &mut Model, window: u16) {
    let now = Instant::default();
    while let Some((qos, len)) = model.waiting.first().copied() {
        let is_held = qos > QoS::AtMostOnce;
        if outgoing.is_resending() || (is_held && model.in_window() >= usize::from(window)) {
            return;
        }
        model.waiting.remove(0);
        let sent = outgoing.dequeue().expect("it waits");
        assert_eq!((sent.qos, sent.message.payload().len()), (qos, len));
        if !is_held {
            continue;
        }
        let id = outgoing.next_packet_id();
        // [MQTT-2.2.1-3]
        assert!(model.flying.iter().all(|it| it.id != id), "{id} is in use");
        outgoing.sent(sent, now);
        model.flying.push(Flying {
            id,
            qos,
            phase: Phase::Publish,
            held: Some(len),
            is_sent: true,
        });
    }
}

/// What is next is the oldest that was not sent on this connection ([MQTT-4.6.0-1]).
fn resend(outgoing: &mut Outgoing, model: &mut Model, gives_up: bool) {
    let next = model.flying.iter().position(|it| !it.is_sent);
    let found = outgoing.next_resend().map(|(id, it)| (id, it.phase));
    let expected = next.map(|at| (model.flying[at].id, model.flying[at].phase));
    assert_eq!(found, expected);
    match next {
        Some(at) if gives_up => {
            let held = model.flying.remove(at).held;
            assert_eq!(outgoing.give_up_resend().is_ok(), held.is_some());
        }
        Some(at) => {
            model.flying[at].is_sent = true;
            outgoing.resent(Instant::default());
        }
        None => assert!(!outgoing.is_resending()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn messages_and_their_window_are_lists(calls in prop::collection::vec(call(), 0..150)) {
        let now = Instant::default();
        let (mut outgoing, mut model) = (Outgoing::new(), Model::default());
        for call in calls {
            match call {
                Call::Enqueue(qos, len) => {
                    outgoing.enqueue(delivery(qos, len));
                    model.waiting.push((qos, len));
                }
                Call::Send(window) => send(&mut outgoing, &mut model, window),
                Call::Answer(place, answer) => {
                    if let Some(place) = place.checked_rem(model.flying.len()) {
                        let before = model.flying[place];
                        let outcome = outgoing.answer(before.id, answer, now);
                        prop_assert_eq!(name(&outcome), model.answer(place, answer));
                        let held = match outcome {
                            Outcome::Done(delivery) => delivery.is_ok(),
                            Outcome::Release(delivery) => delivery.is_some(),
                            _ => before.held.is_some(),
                        };
                        prop_assert_eq!(held, before.held.is_some());
                    }
                }
                Call::AnswerNothing(id, answer) => {
                    let id = PacketId::new(id).expect("not zero");
                    if model.flying.iter().all(|it| it.id != id) {
                        let outcome = outgoing.answer(id, answer, now);
                        prop_assert!(matches!(outcome, Outcome::Unknown));
                    }
                }
                Call::Reconnect => {
                    outgoing.reconnect();
                    model.flying.iter_mut().for_each(|it| it.is_sent = false);
                }
                Call::Resend(gives_up) => resend(&mut outgoing, &mut model, gives_up),
            }
            model.assert_is(&mut outgoing);
        }
        let flying = model.flying.iter().filter_map(|it| Some((it.qos, it.held?, true)));
        let waiting = model.waiting.iter().map(|(qos, len)| (*qos, *len, false));
        let all = outgoing.into_deliveries();
        let all = all.map(|(it, sent)| (it.qos, it.message.payload().len(), sent));
        prop_assert!(all.eq(flying.chain(waiting)));
    }
}

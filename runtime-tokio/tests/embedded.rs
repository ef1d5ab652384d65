//! This package as a library, inside another program.

use std::future::pending;
use std::thread;

use wherry::Server;
use wherry_tests::embedded;

#[test]
fn a_store_of_ones_own_is_used() {
    embedded::a_store_of_ones_own_is_used(|settings, store| {
        let server = Server::bind_with_store(settings, store).expect("a port is free");
        let address = server.local_addrs()[0];
        let handle = server.handle();
        let broker = thread::spawn(move || server.run(pending()));
        let stop = move || {
            handle.stop();
            let outcome = broker.join().expect("the broker does not panic");
            outcome.expect("it ran");
        };
        (address, stop)
    });
}

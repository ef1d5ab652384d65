//! A broker inside another program: what both runtimes promise to whoever embeds them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use wherry_core::store::{Batch, Record};
use wherry_host::config::Settings;
use wherry_host::store::{Store, StoreError};

use crate::client::Client;
use crate::rows::Rows;
use crate::wire::{self, Version};

/// A store of an embedder's own: rows in memory, which outlive the broker and not the process.
#[derive(Clone, Debug, Default)]
pub struct Shelf(Arc<Mutex<Rows>>);

impl Store for Shelf {
    fn load(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), StoreError> {
        let rows = self.0.lock().unwrap().clone();
        rows.for_each(each);
        Ok(())
    }

    fn write(&mut self, batches: &[&Batch]) -> Result<(), StoreError> {
        let mut rows = self.0.lock().unwrap();
        for batch in batches {
            rows.apply((*batch).clone());
        }
        Ok(())
    }
}

/// A store that is no part of Wherry is restored from and written to like its own: what was
/// acknowledged to the clients of one broker is there in the next [MQTT-4.1.0-1].
///
/// `serve` starts a broker over a store and tells where it listens, and what stops it and waits.
pub fn a_store_of_ones_own_is_used<S: FnOnce()>(
    serve: impl Fn(&Settings, Box<dyn Store>) -> (SocketAddr, S),
) {
    let shelf = Shelf::default();
    let settings = Settings {
        listen: vec!["tcp://127.0.0.1:0".parse().unwrap()],
        ..Settings::default()
    };
    let lasting = wire::lasting(Version::V5, "lasting");
    let connect = |address, present| {
        let mut client = Client::dial_address(address, Version::V5);
        client.send(lasting.bytes());
        let connack = client.expect_any().connack(Version::V5);
        assert_eq!((connack.code, connack.session_present), (0, present));
        client
    };
    let (address, stop) = serve(&settings, Box::new(shelf.clone()));
    let mut client = connect(address, false);
    client.subscribe_at("kept", 1);
    client.disconnect();
    let mut publisher = Client::dial_address(address, Version::V5);
    publisher.send(wire::connect(Version::V5).client_id("publisher").bytes());
    publisher.expect_connack(0);
    assert_eq!(publisher.publish_at(1, "kept", "still there"), 0);
    publisher.disconnect();
    stop();
    assert_eq!(shelf.0.lock().unwrap().counts(), [1, 1, 1, 1, 0]);
    let (address, stop) = serve(&settings, Box::new(shelf));
    let mut client = connect(address, true);
    let message = client.expect_any_message();
    assert_eq!(
        (message.qos, &message.payload[..]),
        (1, &b"still there"[..])
    );
    client.acknowledge(&message);
    client.disconnect();
    stop();
}

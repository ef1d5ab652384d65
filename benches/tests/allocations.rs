//! The path of a message allocates nothing.
//!
//! Counted over the broker alone, with warm buffers, as in a broker that has run for a while.
#![allow(missing_docs, reason = "a test")]

use wherry_benches::{Bench, encode, publish};
use wherry_core::packet::ProtocolVersion::{self, V3_1_1, V5};
use wherry_core::packet::{Properties, Property};

/// How many allocations a turn with `bytes` from a publisher makes, once buffers are warm.
fn allocations(load: &mut Bench, from: ProtocolVersion, bytes: &[u8]) -> u64 {
    let publisher = load.connect(from, "publisher");
    for _ in 0..3 {
        assert!(load.receive(publisher, bytes) > 0);
    }
    let sent = load.broker().counters().publish_sent;
    let info = allocation_counter::measure(|| {
        load.receive(publisher, bytes);
    });
    assert!(load.broker().counters().publish_sent > sent);
    info.count_total
}

#[test]
fn a_qos_0_message_allocates_nothing_on_its_way() {
    for from in [V3_1_1, V5] {
        let mut load = Bench::default();
        for n in 0..100 {
            let version = if n % 2 == 0 { V5 } else { V3_1_1 };
            let id = load.connect(version, &format!("c{n}"));
            load.subscribe(
                id,
                version,
                &["site/+/temperature", "site/7/temperature", "#"][..1 + n % 3],
            );
        }
        let properties = [Property::ContentType("text/plain")];
        let properties = Properties::from_slice(&properties);
        let bytes = encode(&publish("site/7/temperature", &[7; 64], properties), from).repeat(100);
        assert_eq!(allocations(&mut load, from, &bytes), 0, "{from}");
    }
}

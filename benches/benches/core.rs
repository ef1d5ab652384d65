//! What the core costs, without sockets.
//!
//! `cargo bench -p wherry-benches` runs all of it; times are per message unless a name says
//! otherwise. On a noisy machine compare ratios within one run.
#![allow(
    missing_docs,
    reason = "criterion's macros make functions without docs"
)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use wherry_benches::{Bench, encode, publish};
use wherry_core::map::HashKey;
use wherry_core::packet::{
    FixedHeader, Packet, Properties, Property, ProtocolVersion, Publish, Sender,
};
use wherry_core::topic::FilterTree;

const TOPIC: &str = "site/7/device/1234/temperature";

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    let properties = [
        Property::ContentType("text/plain"),
        Property::UserProperty("unit", "degrees"),
    ];
    for (name, version, properties) in [
        ("3.1.1", ProtocolVersion::V3_1_1, Properties::EMPTY),
        ("5.0", ProtocolVersion::V5, Properties::EMPTY),
        (
            "5.0 with properties",
            ProtocolVersion::V5,
            Properties::from_slice(&properties),
        ),
    ] {
        let packet = publish(TOPIC, &[7; 64], properties);
        let bytes = encode(&packet, version);
        group.bench_function(BenchmarkId::new("decode PUBLISH", name), |b| {
            b.iter(|| {
                let header = FixedHeader::parse(black_box(&bytes)).ok().flatten()?;
                let body = bytes.get(header.header_len..)?;
                let publish = Publish::decode(&header, body, version, Sender::Client).ok()?;
                Some(black_box(publish).payload.len())
            });
        });
        let mut out = Vec::with_capacity(1024);
        group.bench_function(BenchmarkId::new("encode PUBLISH", name), |b| {
            b.iter(|| {
                out.clear();
                black_box(&packet).encode(version, &mut out)
            });
        });
    }
    group.finish();
}

fn matching(c: &mut Criterion) {
    let mut group = c.benchmark_group("match");
    for count in [1_000u32, 100_000, 1_000_000] {
        let mut exact: FilterTree<u32, ()> = FilterTree::new(HashKey::from_seed(1));
        let mut wild: FilterTree<u32, ()> = FilterTree::new(HashKey::from_seed(1));
        for n in 0..count {
            exact.insert(&format!("site/{}/device/{n}/temperature", n % 100), n, ());
            wild.insert(&format!("site/{}/+/{n}/#", n % 100), n, ());
        }
        // A prime step visits topics in an order that caches do not foresee.
        let topics: Vec<String> = (0..1024u32)
            .map(|i| (i * 7919) % count)
            .map(|n| format!("site/{}/device/{n}/temperature", n % 100))
            .collect();
        for (name, tree) in [("exact", &exact), ("wild", &wild)] {
            let mut topics = topics.iter().cycle();
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| {
                    let mut found = 0;
                    let topic = topics.next().map_or("", String::as_str);
                    tree.for_each_match(black_box(topic), |_, subscribers| {
                        found += subscribers.len();
                    });
                    assert_eq!(found, 1);
                });
            });
        }
    }
    group.finish();
}

fn publish_step(c: &mut Criterion) {
    let mut group = c.benchmark_group("publish");
    for (name, from, to) in [
        ("3.1.1", ProtocolVersion::V3_1_1, ProtocolVersion::V3_1_1),
        ("5.0", ProtocolVersion::V5, ProtocolVersion::V5),
        ("3.1.1 to 5.0", ProtocolVersion::V3_1_1, ProtocolVersion::V5),
    ] {
        for receivers in [1, 100, 10_000u32] {
            let mut bench = Bench::default();
            for n in 0..receivers {
                let id = bench.connect(to, &format!("c{n}"));
                bench.subscribe(id, to, &[TOPIC]);
            }
            let publisher = bench.connect(from, "publisher");
            // As many messages a turn as a read brings of small ones, in the usual case.
            let batch = 64;
            let bytes = encode(&publish(TOPIC, &[7; 64], Properties::EMPTY), from).repeat(batch);
            let sent = bench.broker().counters().publish_sent;
            bench.receive(publisher, &bytes);
            let sent = bench.broker().counters().publish_sent - sent;
            assert_eq!(sent, batch as u64 * u64::from(receivers), "all is measured");
            group.throughput(Throughput::Elements(batch as u64 * u64::from(receivers)));
            group.bench_function(BenchmarkId::new(name, receivers), |b| {
                b.iter(|| bench.receive(publisher, black_box(&bytes)));
            });
        }
    }
    group.finish();
}

fn ping(c: &mut Criterion) {
    let mut bench = Bench::default();
    let id = bench.connect(ProtocolVersion::V5, "a");
    let bytes = encode(&Packet::PingReq, ProtocolVersion::V5);
    c.bench_function("ping", |b| b.iter(|| bench.receive(id, black_box(&bytes))));
}

criterion_group!(benches, codec, matching, publish_step, ping);
criterion_main!(benches);

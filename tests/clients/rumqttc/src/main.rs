//! What rumqttc does with the broker, at 3.1.1 and 5:
//!
//! ```text
//! wherry-rumqttc-check PORT-OF-THE-BROKER PORT-OF-THE-CUTTER
//! ```

mod client;

use std::time::Duration;

use client::{Client, IDENTIFIERS, Options, Properties, Will};
use tokio::time::sleep;

const BULK: usize = 2000;

/// Where to connect, and with which version.
#[derive(Clone, Copy)]
struct To {
    version: u8,
    port: u16,
    cutter: u16,
}

impl To {
    fn options(self, name: &str) -> Options {
        let name = format!("rumqttc-{}-{name}", self.version);
        Options {
            port: self.port,
            name,
            ..Options::default()
        }
    }

    async fn open(self, name: &str) -> Client {
        Client::open(self.version, self.options(name)).await
    }

    /// With a session that outlives the connection.
    async fn open_to_stay(self, name: &str, will: Option<Will>) -> Client {
        let options = Options {
            stays: true,
            will,
            ..self.options(name)
        };
        Client::open(self.version, options).await
    }

    fn topic(self, name: &str) -> String {
        format!("rumqttc/{}/{name}", self.version)
    }
}

fn number(number: usize) -> Vec<u8> {
    number.to_string().into_bytes()
}

async fn bulk(to: To) {
    let (mut subscriber, mut publisher) = (to.open("bs").await, to.open("bp").await);
    for qos in 0..3 {
        let topic = to.topic(&format!("bulk/{qos}"));
        subscriber.subscribe(&topic, qos, None).await;
        let publishing = async {
            for at in 0..BULK {
                publisher.send(&topic, &number(at), qos, false).await;
            }
            publisher.acknowledged().await;
        };
        let receiving = async {
            for at in 0..BULK {
                subscriber.expect(&topic, &number(at), qos).await;
            }
        };
        tokio::join!(publishing, receiving);
        subscriber.fence(&topic).await;
    }
    subscriber.close().await;
    publisher.close().await;
}

async fn lesser_qos(to: To) {
    let mut client = to.open("q").await;
    for (asked, sent) in (0..9).map(|at| (at / 3, at % 3)) {
        let topic = to.topic(&format!("lesser/{asked}/{sent}"));
        client.subscribe(&topic, asked, None).await;
        client.publish(&topic, b"x", sent).await;
        client.expect(&topic, b"x", asked.min(sent)).await;
    }
    client.close().await;
}

async fn queued_while_away(to: To) {
    let mut publisher = to.open("ap").await;
    let mut client = to.open_to_stay("a", None).await;
    assert!(!client.session_present);
    let topic = to.topic("away");
    client.subscribe(&topic, 2, None).await;
    client.close().await;
    for at in 0..100 {
        publisher
            .publish(&topic, &number(at), 1 + (at % 2) as u8)
            .await;
    }
    let mut client = to.open_to_stay("a", None).await;
    assert!(client.session_present);
    for at in 0..100 {
        client.expect(&topic, &number(at), 1 + (at % 2) as u8).await;
    }
    client.fence(&topic).await;
    client.close().await;
    let client = to.open("a").await;
    assert!(!client.session_present);
    client.close().await;
    publisher.close().await;
}

async fn retained(to: To) {
    let topic = to.topic("retained");
    let mut publisher = to.open("rp").await;
    for qos in 0..3 {
        publisher.send(&topic, b"kept", qos, true).await;
        publisher.acknowledged().await;
        // What was sent with QoS 0 has arrived once this has come back.
        publisher.subscribe(&to.topic("fence"), 0, None).await;
        publisher.fence(&to.topic("fence")).await;
        let mut late = to.open("rl").await;
        late.subscribe(&topic, 2, None).await;
        assert!(late.expect(&topic, b"kept", qos).await.retain);
        publisher.send(&topic, b"", qos, true).await;
        assert!(!late.expect(&topic, b"", qos).await.retain);
        late.close().await;
    }
    publisher.close().await;
}

async fn wills(to: To) {
    let topic = to.topic("will");
    let mut watcher = to.open("w").await;
    watcher.subscribe(&topic, 2, None).await;
    for qos in 0..3 {
        let will = |payload| Will {
            topic: topic.clone(),
            payload,
            qos,
            delay: None,
        };
        let options = |payload| Options {
            will: Some(will(payload)),
            ..to.options("m")
        };
        Client::open(to.version, options("unsaid"))
            .await
            .close()
            .await;
        Client::open(to.version, options("gone")).await.cut().await;
        watcher.expect(&topic, b"gone", qos).await;
    }
    watcher.close().await;
}

async fn takeover(to: To) {
    let first = to.open("t").await;
    let mut second = to.open("t").await;
    first.ended().await;
    second.subscribe(&to.topic("taken"), 0, None).await;
    second.fence(&to.topic("taken")).await;
    second.close().await;
}

async fn shared(to: To) {
    let mut members = [to.open("s0").await, to.open("s1").await];
    let topic = to.topic("shared");
    for member in &mut members {
        member
            .subscribe(&format!("$share/rumqttc/{topic}"), 2, None)
            .await;
    }
    let mut publisher = to.open("sp").await;
    for at in 0..200 {
        publisher.send(&topic, &number(at), 2, false).await;
    }
    publisher.acknowledged().await;
    let mut heard = Vec::new();
    for (which, mut member) in members.into_iter().enumerate() {
        // Each has its turn as often as the other; who begins is the broker's affair.
        let mut mine = Vec::new();
        for _ in 0..100 {
            let got = member.message().await;
            assert_eq!((got.topic.as_str(), got.qos), (topic.as_str(), 2));
            let number = String::from_utf8_lossy(&got.payload).parse();
            let number: usize = number.expect("it is a number");
            mine.push(number);
        }
        assert!(mine.is_sorted(), "{mine:?}");
        heard.extend(mine);
        let own = to.topic(&format!("own/{which}"));
        member.subscribe(&own, 0, None).await;
        member.fence(&own).await;
        member.close().await;
    }
    heard.sort_unstable();
    assert_eq!(heard, (0..200).collect::<Vec<usize>>());
    publisher.close().await;
}

async fn large(to: To) {
    let mut client = to.open("l").await;
    let payload: Vec<u8> = (0..1 << 20)
        .map(|at: u32| (at.wrapping_mul(at) >> 7) as u8)
        .collect();
    client.subscribe(&to.topic("large"), 2, None).await;
    client.publish(&to.topic("large"), &payload, 2).await;
    client.expect(&to.topic("large"), &payload, 2).await;
    client.close().await;
}

/// Only of what it publishes: what it has received of QoS 2, rumqttc forgets with the connection.
async fn published_over_a_line_that_breaks(to: To) {
    let mut subscriber = to.open("cs").await;
    let topic = to.topic("cut");
    subscriber.subscribe(&topic, 2, None).await;
    let port = to.cutter;
    let options = Options {
        port,
        stays: true,
        back: true,
        ..to.options("cp")
    };
    let mut publisher = Client::open(to.version, options).await;
    let count = usize::from(IDENTIFIERS) - 10;
    // Nor does it promise an order of what it sends again.
    let (mut heard, mut wanted) = (Vec::new(), Vec::new());
    let publishing = async {
        for at in 0..count {
            publisher.send(&topic, &number(at), 2, false).await;
        }
    };
    let receiving = async {
        for at in 0..count {
            heard.push(subscriber.message().await.payload);
            wanted.push(number(at));
        }
    };
    tokio::join!(publishing, receiving);
    heard.sort();
    wanted.sort();
    assert!(heard == wanted, "not exactly once");
    publisher.send(&topic, b"fence", 2, false).await;
    subscriber.expect(&topic, b"fence", 2).await;
    assert!(publisher.cuts() > 0, "the line has never broken");
    publisher.close().await;
    subscriber.close().await;
    to.open("cp").await.close().await;
}

async fn question_and_answer(to: To) {
    let (mut asker, mut answerer) = (to.open("asker").await, to.open("answerer").await);
    let (question, answer) = (to.topic("question"), to.topic("answer"));
    asker.subscribe(&answer, 1, Some(268_435_455)).await;
    answerer.subscribe(&question, 2, Some(1)).await;
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let asked = Properties {
        user: vec![pair("a", "1"), pair("b", ""), pair("a", "2")],
        response_topic: Some(answer.clone()),
        correlation: Some(vec![0, 255]),
        expiry: Some(600),
        ..Properties::default()
    };
    asker.publish_rich(&question, b"?", 2, asked.clone()).await;
    let mut got = answerer.expect(&question, b"?", 2).await.properties;
    assert!(
        got.expiry.is_some_and(|left| (500..=600).contains(&left)),
        "{got:?}"
    );
    assert_eq!(got.identifiers, [1]);
    (got.expiry, got.alias, got.identifiers) = (asked.expiry, None, Vec::new());
    assert_eq!(got, asked);
    let correlation = got.correlation.clone();
    let answered = Properties {
        correlation,
        ..Properties::default()
    };
    answerer.publish_rich(&answer, b"!", 1, answered).await;
    let got = asker.expect(&answer, b"!", 1).await.properties;
    assert_eq!(got.correlation, asked.correlation);
    assert_eq!(got.identifiers, [268_435_455]);
    asker.close().await;
    answerer.close().await;
}

async fn topic_aliases(to: To) {
    let mut client = to.open("alias").await;
    let topic = to.topic("alias");
    client.subscribe(&topic, 1, None).await;
    let properties = Properties {
        alias: Some(3),
        ..Properties::default()
    };
    for (at, name) in [topic.as_str(), "", ""].into_iter().enumerate() {
        client
            .publish_rich(name, &number(at), 1, properties.clone())
            .await;
        // It allows the broker eight, and finds the topic by itself.
        let got = client.expect(&topic, &number(at), 1).await;
        assert!(
            got.properties
                .alias
                .is_some_and(|alias| (1..=8).contains(&alias)),
            "{got:?}"
        );
    }
    client.close().await;
}

async fn expiry_and_delay(to: To) {
    let (expired, delayed) = (to.topic("expired"), to.topic("delayed"));
    let will = |payload, delay| {
        Some(Will {
            topic: delayed.clone(),
            payload,
            qos: 1,
            delay: Some(delay),
        })
    };
    let mut watcher = to.open("watcher").await;
    watcher.subscribe(&delayed, 1, None).await;
    let mut client = to.open_to_stay("away", will("late", 600)).await;
    client.subscribe(&expired, 1, None).await;
    client.cut().await;
    for (payload, expiry) in [(b"short", 1), (b"later", 600)] {
        let properties = Properties {
            expiry: Some(expiry),
            ..Properties::default()
        };
        watcher.publish_rich(&expired, payload, 1, properties).await;
    }
    // Nothing tells that a message has expired: time has to pass.
    sleep(Duration::from_millis(1100)).await;
    let mut client = to.open_to_stay("away", will("soon", 1)).await;
    let got = client.expect(&expired, b"later", 1).await;
    assert!(
        got.properties.expiry.is_some_and(|left| left < 600),
        "{got:?}"
    );
    watcher.fence(&delayed).await;
    client.cut().await;
    watcher.expect(&delayed, b"soon", 1).await;
    to.open("away").await.close().await;
    watcher.close().await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut ports = std::env::args()
        .skip(1)
        .map(|port| port.parse().expect("a port"));
    let (port, cutter) = (
        ports.next().expect("a port"),
        ports.next().expect("a second port"),
    );
    macro_rules! run {
        ($to:expr, $($check:ident),*) => {
            $($check($to).await; println!("ok rumqttc v{} {}", $to.version, stringify!($check));)*
        };
    }
    for version in [4, 5] {
        let to = To {
            version,
            port,
            cutter,
        };
        run!(
            to,
            bulk,
            lesser_qos,
            queued_while_away,
            retained,
            wills,
            takeover,
            shared,
            large
        );
        run!(to, published_over_a_line_that_breaks);
        if version == 5 {
            run!(to, question_and_answer, topic_aliases, expiry_and_delay);
        }
    }
}

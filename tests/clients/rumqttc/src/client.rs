//! rumqttc's two clients, for 3.1.1 and for 5, under one face.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

type Aliases = HashMap<u16, String>;

const PATIENCE: Duration = Duration::from_secs(60);

/// Packet identifiers go from 1 to this, and then from 1 again. On a line that has broken rumqttc
/// can take one again that is still in use, and the broker must take the new message for the old
/// one. So a check over such a line stays below it.
pub const IDENTIFIERS: u16 = 1000;

const LARGEST: u32 = 4 << 20;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    pub user: Vec<(String, String)>,
    pub response_topic: Option<String>,
    pub correlation: Option<Vec<u8>>,
    pub expiry: Option<u32>,
    pub alias: Option<u16>,
    pub identifiers: Vec<usize>,
}

#[derive(Debug)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub properties: Properties,
}

#[derive(Clone, Default)]
pub struct Will {
    pub topic: String,
    pub payload: &'static str,
    pub qos: u8,
    pub delay: Option<u32>,
}

#[derive(Clone, Default)]
pub struct Options {
    pub port: u16,
    pub name: String,
    pub stays: bool,
    pub back: bool,
    pub will: Option<Will>,
}

/// What an event loop has to tell.
#[derive(Default)]
pub struct Seen {
    pub connected: Option<bool>,
    pub acknowledged: usize,
    pub granted: Vec<Option<u8>>,
    pub cuts: usize,
    pub ended: bool,
}

pub enum Asks {
    V4(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

pub struct Client {
    asks: Asks,
    messages: mpsc::UnboundedReceiver<Message>,
    seen: watch::Receiver<Seen>,
    poller: JoinHandle<()>,
    published: usize,
    subscribed: usize,
    pub session_present: bool,
}

/// Polls an event loop of either version until it ends.
macro_rules! poll {
    ($events:ident, $back:expr, $seen:ident, $messages:ident, $path:path, $message:ident) => {
        tokio::spawn(async move {
            use $path as of;
            loop {
                match $events.poll().await {
                    Ok(of::Event::Incoming(of::Incoming::Publish(it))) => {
                        let _ = $messages.send($message(it));
                    }
                    Ok(of::Event::Incoming(packet)) => $seen.send_modify(|seen| match packet {
                        of::Incoming::ConnAck(it) => {
                            seen.connected.get_or_insert(it.session_present);
                        }
                        of::Incoming::PubAck(_) | of::Incoming::PubComp(_) => {
                            seen.acknowledged += 1;
                        }
                        of::Incoming::SubAck(it) => {
                            seen.granted
                                .extend(it.return_codes.iter().map(|code| match code {
                                    of::SubscribeReasonCode::Success(qos) => Some(*qos as u8),
                                    _ => None,
                                }));
                        }
                        _ => {}
                    }),
                    Ok(of::Event::Outgoing(rumqttc::Outgoing::Disconnect)) => {
                        // Polled on, it would connect again.
                        break;
                    }
                    Ok(_) => {}
                    Err(_) if $back => {
                        $seen.send_modify(|seen| seen.cuts += 1);
                        sleep(Duration::from_millis(20)).await;
                    }
                    Err(_) => break,
                }
            }
            $seen.send_modify(|seen| seen.ended = true);
        })
    };
}

/// The names of both versions, as the macro wants them.
mod v4 {
    pub use rumqttc::{Event, Incoming, SubscribeReasonCode};
}

mod v5 {
    pub use rumqttc::v5::mqttbytes::v5::SubscribeReasonCode;
    pub use rumqttc::v5::{Event, Incoming};
}

fn qos_v4(qos: u8) -> rumqttc::QoS {
    rumqttc::qos(qos).expect("0 to 2")
}

fn qos_v5(qos: u8) -> rumqttc::v5::mqttbytes::QoS {
    rumqttc::v5::mqttbytes::qos(qos).expect("0 to 2")
}

fn message_v4(it: rumqttc::Publish) -> Message {
    Message {
        topic: it.topic,
        payload: it.payload.to_vec(),
        qos: it.qos as u8,
        retain: it.retain,
        properties: Properties::default(),
    }
}

/// rumqttc looks up the topics of aliases, but hands the message over as it came.
fn message_v5(it: rumqttc::v5::mqttbytes::v5::Publish, aliases: &mut Aliases) -> Message {
    let of = it.properties.unwrap_or_default();
    let mut topic = String::from_utf8_lossy(&it.topic).into_owned();
    if let Some(alias) = of.topic_alias {
        if topic.is_empty() {
            topic = aliases
                .get(&alias)
                .cloned()
                .expect("the alias has been given");
        } else {
            aliases.insert(alias, topic.clone());
        }
    }
    Message {
        topic,
        payload: it.payload.to_vec(),
        qos: it.qos as u8,
        retain: it.retain,
        properties: Properties {
            user: of.user_properties,
            response_topic: of.response_topic,
            correlation: of.correlation_data.map(|data| data.to_vec()),
            expiry: of.message_expiry_interval,
            alias: of.topic_alias,
            identifiers: of.subscription_identifiers,
        },
    }
}

impl Client {
    pub async fn open(version: u8, options: Options) -> Client {
        let (to_messages, messages) = mpsc::unbounded_channel();
        let (seen, seen_here) = watch::channel(Seen::default());
        let (asks, poller) = if version == 4 {
            open_v4(options, seen, to_messages)
        } else {
            open_v5(options, seen, to_messages)
        };
        let mut client = Client {
            asks,
            messages,
            seen: seen_here,
            poller,
            published: 0,
            subscribed: 0,
            session_present: false,
        };
        client.wait(|seen| seen.connected.is_some()).await;
        client.session_present = client.seen.borrow().connected == Some(true);
        client
    }

    async fn wait(&mut self, what: impl FnMut(&Seen) -> bool) {
        let waiting = self.seen.wait_for(what);
        timeout(PATIENCE, waiting)
            .await
            .expect("it comes in time")
            .expect("the loop lives");
    }

    pub async fn subscribe(&mut self, topic: &str, qos: u8, identifier: Option<usize>) {
        match &self.asks {
            Asks::V4(asks) => asks
                .subscribe(topic, qos_v4(qos))
                .await
                .expect("the loop lives"),
            Asks::V5(asks) => {
                let user_properties = Vec::new();
                let properties = rumqttc::v5::mqttbytes::v5::SubscribeProperties {
                    id: identifier,
                    user_properties,
                };
                let asking = asks.subscribe_with_properties(topic, qos_v5(qos), properties);
                asking.await.expect("the loop lives");
            }
        }
        self.subscribed += 1;
        let count = self.subscribed;
        self.wait(|seen| seen.granted.len() >= count).await;
        assert_eq!(self.seen.borrow().granted[count - 1], Some(qos), "{topic}");
    }

    /// Sends it off; what QoS 1 and 2 then are owed, `acknowledged` waits for.
    pub async fn send(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool) {
        match &self.asks {
            Asks::V4(asks) => {
                asks.publish(topic, qos_v4(qos), retain, payload)
                    .await
                    .expect("the loop lives");
            }
            Asks::V5(asks) => {
                let payload = payload.to_vec();
                asks.publish(topic, qos_v5(qos), retain, payload)
                    .await
                    .expect("the loop lives");
            }
        }
        self.published += usize::from(qos > 0);
    }

    pub async fn acknowledged(&mut self) {
        let count = self.published;
        self.wait(|seen| seen.acknowledged >= count).await;
    }

    pub async fn publish(&mut self, topic: &str, payload: &[u8], qos: u8) {
        self.send(topic, payload, qos, false).await;
        self.acknowledged().await;
    }

    pub async fn publish_rich(&mut self, topic: &str, payload: &[u8], qos: u8, of: Properties) {
        let Asks::V5(asks) = &self.asks else {
            panic!("only MQTT 5 has properties");
        };
        let properties = rumqttc::v5::mqttbytes::v5::PublishProperties {
            user_properties: of.user,
            response_topic: of.response_topic,
            correlation_data: of.correlation.map(Into::into),
            message_expiry_interval: of.expiry,
            topic_alias: of.alias,
            ..Default::default()
        };
        let (qos_of, payload) = (qos_v5(qos), payload.to_vec());
        let asking = asks.publish_with_properties(topic, qos_of, false, payload, properties);
        asking.await.expect("the loop lives");
        self.published += usize::from(qos > 0);
        self.acknowledged().await;
    }

    pub async fn message(&mut self) -> Message {
        let next = timeout(PATIENCE, self.messages.recv());
        next.await
            .expect("it comes in time")
            .expect("the loop lives")
    }

    pub async fn expect(&mut self, topic: &str, payload: &[u8], qos: u8) -> Message {
        let got = self.message().await;
        let (length, same) = (got.payload.len(), got.payload == payload);
        assert!(
            same,
            "{}: other {length} bytes than {}",
            got.topic,
            payload.len()
        );
        assert_eq!((got.topic.as_str(), got.qos), (topic, qos));
        got
    }

    /// Nothing was waiting before what is published now.
    pub async fn fence(&mut self, topic: &str) {
        self.publish(topic, b"fence", 0).await;
        self.expect(topic, b"fence", 0).await;
    }

    pub fn cuts(&self) -> usize {
        self.seen.borrow().cuts
    }

    /// Until the broker has ended the connection.
    pub async fn ended(mut self) {
        self.wait(|seen| seen.ended).await;
    }

    pub async fn close(mut self) {
        match &self.asks {
            Asks::V4(asks) => asks.disconnect().await.expect("the loop lives"),
            Asks::V5(asks) => asks.disconnect().await.expect("the loop lives"),
        }
        self.wait(|seen| seen.ended).await;
    }

    /// Ends the connection without a word.
    pub async fn cut(self) {
        self.poller.abort();
        let _ = self.poller.await;
    }
}

fn open_v4(
    options: Options,
    seen: watch::Sender<Seen>,
    messages: mpsc::UnboundedSender<Message>,
) -> (Asks, JoinHandle<()>) {
    let mut of = rumqttc::MqttOptions::new(options.name, "127.0.0.1", options.port);
    of.set_clean_session(!options.stays);
    of.set_max_packet_size(LARGEST as usize, LARGEST as usize);
    of.set_inflight(IDENTIFIERS);
    if let Some(will) = options.will {
        let qos = qos_v4(will.qos);
        of.set_last_will(rumqttc::LastWill::new(will.topic, will.payload, qos, false));
    }
    let (asks, mut events) = rumqttc::AsyncClient::new(of, 100);
    let poller = poll!(events, options.back, seen, messages, v4, message_v4);
    (Asks::V4(asks), poller)
}

fn open_v5(
    options: Options,
    seen: watch::Sender<Seen>,
    messages: mpsc::UnboundedSender<Message>,
) -> (Asks, JoinHandle<()>) {
    let mut of = rumqttc::v5::MqttOptions::new(options.name, "127.0.0.1", options.port);
    of.set_clean_start(!options.stays);
    of.set_session_expiry_interval(options.stays.then_some(600));
    of.set_max_packet_size(Some(LARGEST));
    of.set_topic_alias_max(Some(8));
    of.set_outgoing_inflight_upper_limit(IDENTIFIERS);
    if let Some(will) = options.will {
        let qos = qos_v5(will.qos);
        let properties = rumqttc::v5::mqttbytes::v5::LastWillProperties {
            delay_interval: will.delay,
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        };
        of.set_last_will(rumqttc::v5::mqttbytes::v5::LastWill::new(
            will.topic,
            will.payload,
            qos,
            false,
            Some(properties),
        ));
    }
    let (asks, mut events) = rumqttc::v5::AsyncClient::new(of, 100);
    let mut aliases = Aliases::new();
    let mut message = move |it| message_v5(it, &mut aliases);
    let poller = poll!(events, options.back, seen, messages, v5, message);
    (Asks::V5(asks), poller)
}

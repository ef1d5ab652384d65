// What MQTT.js does with the broker, in every version:
//
//     node with_mqttjs.js PORT-OF-THE-BROKER PORT-OF-THE-CUTTER

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { setTimeout as passing } from "node:timers/promises";
import mqtt from "mqtt";

const port = Number(process.argv[2]);
const cutter = Number(process.argv[3]);
const versions = { "v3.1": 3, "v3.1.1": 4, v5: 5 };
const BULK = 2000;

// What does not happen in time must not hang the run.
const patience = setTimeout(() => {
  console.error("MQTT.js waited in vain");
  process.exit(1);
}, 120_000);

async function connect(clientId, protocolVersion, more = {}) {
  const client = mqtt.connect(`mqtt://127.0.0.1:${more.port ?? port}`, {
    clientId,
    protocolVersion,
    protocolId: protocolVersion === 3 ? "MQIsdp" : "MQTT",
    reconnectPeriod: 0,
    ...more,
  });
  const waiting = [];
  const wanted = [];
  client.on("message", (topic, payload, packet) => {
    const message = { topic, payload, packet };
    const next = wanted.shift();
    if (next) next(message);
    else waiting.push(message);
  });
  client.message = () =>
    waiting.length ? waiting.shift() : new Promise((resolve) => wanted.push(resolve));
  client.expect = async (topic, payload, qos = 0, retain = false) => {
    const message = await client.message();
    const got = [message.topic, message.payload.toString(), message.packet.qos];
    assert.deepEqual([...got, message.packet.retain], [topic, payload, qos, retain]);
    return message.packet;
  };
  client.granted = async (topic, qos, options = {}) => {
    const [answer] = await client.subscribeAsync(topic, { qos, ...options });
    assert.equal(answer.qos, qos);
  };
  // Nothing was waiting before what is published now.
  client.fence = async (topic, publisher = client) => {
    await publisher.publishAsync(topic, "fence");
    await client.expect(topic, "fence");
  };
  const [connack] = await once(client, "connect");
  client.sessionPresent = connack.sessionPresent;
  return client;
}

// It does not keep to the broker's Receive Maximum by itself.
async function publishMany(client, topic, payloads, qos) {
  const window = 200;
  const one = async (payload) => {
    try {
      await client.publishAsync(topic, payload, { qos });
    } catch (error) {
      // Packet Identifier not found: no error in recovery (3.7.2.1), but MQTT.js makes one of it.
      if (error.code !== 0x92) throw error;
    }
  };
  for (let from = 0; from < payloads.length; from += window) {
    await Promise.all(payloads.slice(from, from + window).map(one));
  }
}

// A session that outlives the connection.
function stays(version) {
  const properties = version === 5 ? { sessionExpiryInterval: 600 } : undefined;
  return { clean: false, properties };
}

const end = (...clients) => Promise.all(clients.map((client) => client.endAsync()));

const numbers = Array.from({ length: BULK }, (_, number) => String(number));

async function bulk(name, version) {
  const subscriber = await connect(`${name}-js-s`, version);
  const publisher = await connect(`${name}-js-p`, version);
  for (const qos of [0, 1, 2]) {
    const topic = `js/${name}/bulk/${qos}`;
    await subscriber.granted(topic, qos);
    const sent = publishMany(publisher, topic, numbers, qos);
    for (const number of numbers) await subscriber.expect(topic, number, qos);
    await sent;
    await subscriber.fence(topic, publisher);
  }
  await end(subscriber, publisher);
}

async function lesserQos(name, version) {
  const client = await connect(`${name}-js-q`, version);
  for (const asked of [0, 1, 2]) {
    for (const qos of [0, 1, 2]) {
      const topic = `js/${name}/lesser/${asked}/${qos}`;
      await client.granted(topic, asked);
      await client.publishAsync(topic, "x", { qos });
      await client.expect(topic, "x", Math.min(asked, qos));
    }
  }
  await end(client);
}

async function wildcards(name, version) {
  const client = await connect(`${name}-js-w`, version);
  const granted = await client.subscribeAsync([`js/${name}/+`, `js/${name}/deep/#`]);
  assert.deepEqual(granted.map((one) => one.qos), [0, 0]);
  await client.publishAsync(`js/${name}/a`, "one");
  await client.publishAsync(`js/${name}/b/c`, "unheard");
  await client.publishAsync(`js/${name}/deep/er`, "two");
  await client.expect(`js/${name}/a`, "one");
  await client.expect(`js/${name}/deep/er`, "two");
  await end(client);
}

async function queuedWhileAway(name, version) {
  const publisher = await connect(`${name}-js-ap`, version);
  let client = await connect(`${name}-js-a`, version, stays(version));
  assert.equal(client.sessionPresent, false);
  const topic = `js/${name}/away`;
  await client.granted(topic, 2);
  await end(client);
  for (const number of numbers.slice(0, 100)) {
    await publisher.publishAsync(topic, number, { qos: 1 + (number % 2) });
  }
  client = await connect(`${name}-js-a`, version, stays(version));
  // MQTT 3.1 cannot say it.
  assert.equal(client.sessionPresent, version !== 3);
  // MQTT.js hands over QoS 2 when it is released, and so after QoS 1.
  const heard = { 1: [], 2: [] };
  for (const _ of numbers.slice(0, 100)) {
    const { payload, packet } = await client.message();
    heard[packet.qos].push(Number(payload));
  }
  for (const qos of [1, 2]) {
    assert.deepEqual(heard[qos], Array.from({ length: 50 }, (_, n) => 2 * n + qos - 1));
  }
  await end(client);
  client = await connect(`${name}-js-a`, version, { clean: true });
  assert.equal(client.sessionPresent, false);
  await publisher.publishAsync(topic, "unheard", { qos: 1 });
  await client.granted(`${topic}/fence`, 1);
  await client.fence(`${topic}/fence`, publisher);
  await end(client, publisher);
}

async function retained(name, version) {
  const client = await connect(`${name}-js-r`, version);
  const topic = `js/${name}/kept/a`;
  for (const qos of [0, 1, 2]) {
    await client.publishAsync(topic, "kept", { qos, retain: true });
    await client.granted(`js/${name}/kept/#`, 2);
    await client.expect(topic, "kept", qos, true);
    await client.publishAsync(topic, "", { qos, retain: true });
    await client.expect(topic, "", qos);
    await client.unsubscribeAsync(`js/${name}/kept/#`);
    await client.publishAsync(topic, "unheard");
  }
  await end(client);
}

async function wills(name, version) {
  const watcher = await connect(`${name}-js-v`, version);
  const topic = `js/${name}/will`;
  await watcher.granted(topic, 2);
  for (const qos of [0, 1, 2]) {
    await end(await connect(`${name}-js-m`, version, { will: { topic, payload: "unsaid", qos } }));
    const will = { topic, payload: "gone", qos };
    const mortal = await connect(`${name}-js-m`, version, { will });
    mortal.stream.destroy();
    await watcher.expect(topic, "gone", qos);
  }
  await end(watcher);
}

async function takeover(name, version) {
  const first = await connect(`${name}-js-t`, version);
  const told = once(first, version === 5 ? "disconnect" : "close");
  const heir = await connect(`${name}-js-t`, version);
  const [packet] = await told;
  if (version === 5) assert.equal(packet.reasonCode, 0x8e);
  await heir.granted(`js/${name}/heir`, 1);
  await heir.fence(`js/${name}/heir`);
  await end(heir);
}

async function shared(name, version) {
  const members = [
    await connect(`${name}-js-1`, version),
    await connect(`${name}-js-2`, version),
  ];
  const topic = `js/${name}/shared`;
  for (const member of members) await member.granted(`$share/js/${topic}`, 2);
  const all = numbers.slice(0, 200);
  for (const number of all) await members[0].publishAsync(topic, number, { qos: 2 });
  const heard = [];
  for (const member of members) {
    // Each has its turn as often as the other; who begins is the broker's affair.
    const mine = [];
    for (let count = 0; count < all.length / 2; count++) {
      const message = await member.message();
      assert.deepEqual([message.topic, message.packet.qos, message.packet.retain], [topic, 2, false]);
      mine.push(Number(message.payload.toString()));
    }
    assert.deepEqual(mine, mine.toSorted((one, other) => one - other));
    heard.push(...mine);
  }
  assert.deepEqual(heard.sort((one, other) => one - other), all.map(Number));
  await end(...members);
}

async function large(name, version) {
  const client = await connect(`${name}-js-l`, version);
  const payload = randomBytes(1 << 20);
  await client.granted(`js/${name}/large`, 2);
  await client.publishAsync(`js/${name}/large`, payload, { qos: 2 });
  const message = await client.message();
  assert(message.payload.equals(payload), "1 MiB differs");
  await end(client);
}

async function brokenLine(name, version) {
  const back = { port: cutter, reconnectPeriod: 50, resubscribe: false, ...stays(version) };
  const subscriber = await connect(`${name}-js-cs`, version, back);
  const publisher = await connect(`${name}-js-cp`, version, back);
  let cuts = 0;
  for (const client of [subscriber, publisher]) client.on("close", () => cuts++);
  const topic = `js/${name}/cut`;
  await subscriber.granted(topic, 2);
  const some = numbers.slice(0, 1000);
  const sent = publishMany(publisher, topic, some, 2);
  // MQTT.js promises no order of what it sends again.
  const heard = [];
  for (const _ of some) heard.push((await subscriber.message()).payload.toString());
  await sent;
  assert.deepEqual(heard.toSorted((a, b) => a - b), some);
  await publisher.publishAsync(topic, "fence", { qos: 2 });
  await subscriber.expect(topic, "fence", 2);
  assert(cuts > 0, "the line has never broken");
  await end(subscriber, publisher);
  for (const which of ["cs", "cp"]) {
    await end(await connect(`${name}-js-${which}`, version, { clean: true }));
  }
}

async function questionAndAnswer() {
  const asker = await connect("js-asker", 5);
  const answerer = await connect("js-answerer", 5);
  await asker.granted("js/answer", 1, { properties: { subscriptionIdentifier: 268_435_455 } });
  await answerer.granted("js/question", 2, { properties: { subscriptionIdentifier: 1 } });
  await asker.publishAsync("js/question", "?", {
    qos: 2,
    properties: {
      userProperties: { one: ["1", "2"] },
      contentType: "text/plain",
      responseTopic: "js/answer",
      correlationData: Buffer.from([0, 255]),
      messageExpiryInterval: 600,
    },
  });
  const asked = (await answerer.expect("js/question", "?", 2)).properties;
  assert.deepEqual({ ...asked.userProperties }, { one: ["1", "2"] });
  assert.equal(asked.contentType, "text/plain");
  assert.equal(asked.subscriptionIdentifier, 1);
  assert(asked.messageExpiryInterval <= 600 && asked.messageExpiryInterval > 500);
  const { correlationData } = asked;
  const answer = { qos: 1, properties: { correlationData } };
  await answerer.publishAsync(asked.responseTopic, "!", answer);
  const answered = (await asker.expect("js/answer", "!", 1)).properties;
  assert.deepEqual([...answered.correlationData], [0, 255]);
  assert.equal(answered.subscriptionIdentifier, 268_435_455);
  await asker.granted("js/local", 2, { nl: true });
  await asker.publishAsync("js/local", "unheard", { qos: 2 });
  await asker.fence("js/answer");
  await end(asker, answerer);
}

async function topicAliases() {
  const client = await connect("js-alias", 5, {
    autoAssignTopicAlias: true,
    properties: { topicAliasMaximum: 4 },
  });
  // There is room for four: of six topics some have to take turns, or go without.
  const aliases = new Set();
  await client.granted("js/alias/+", 1);
  client.on("packetreceive", (packet) => {
    if (packet.cmd === "publish") aliases.add(packet.properties?.topicAlias);
  });
  for (const number of numbers.slice(0, 60)) {
    const topic = `js/alias/${number % 6}`;
    await client.publishAsync(topic, number, { qos: 1 });
    await client.expect(topic, number, 1);
  }
  aliases.delete(undefined);
  assert(aliases.size > 0 && [...aliases].every((alias) => alias >= 1 && alias <= 4));
  await end(client);
}

async function expiryAndDelay() {
  const watcher = await connect("js-watcher", 5);
  await watcher.granted("js/delayed", 1);
  const delayed = (payload, willDelayInterval) => ({
    ...stays(5),
    will: { topic: "js/delayed", payload, qos: 1, properties: { willDelayInterval } },
  });
  const cut = async (client) => {
    client.stream.destroy();
    await once(client, "close");
  };
  const client = await connect("js-away", 5, delayed("late", 600));
  await client.granted("js/expired", 1);
  await cut(client);
  for (const [payload, messageExpiryInterval] of [["short", 1], ["long", 600]]) {
    await watcher.publishAsync("js/expired", payload, {
      qos: 1,
      properties: { messageExpiryInterval },
    });
  }
  // Nothing tells that a message has expired: time has to pass.
  await passing(1100);
  const back = await connect("js-away", 5, delayed("soon", 1));
  const { properties } = await back.expect("js/expired", "long", 1);
  assert(properties.messageExpiryInterval < 600);
  await watcher.fence("js/delayed");
  await cut(back);
  await watcher.expect("js/delayed", "soon", 1);
  await end(await connect("js-away", 5, { clean: true }), watcher);
}

const checks = [
  bulk,
  lesserQos,
  wildcards,
  queuedWhileAway,
  retained,
  wills,
  takeover,
  shared,
  large,
  brokenLine,
];
for (const [name, version] of Object.entries(versions)) {
  for (const check of checks) {
    await check(name, version);
    console.log(`ok ${name} ${check.name}`);
  }
}
for (const check of [questionAndAnswer, topicAliases, expiryAndDelay]) {
  await check();
  console.log(`ok v5 ${check.name}`);
}
clearTimeout(patience);

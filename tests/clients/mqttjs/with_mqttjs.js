// Publish and subscribe through MQTT.js, in every version.

import assert from "node:assert/strict";
import { once } from "node:events";
import mqtt from "mqtt";

const port = Number(process.argv[2]);
const versions = { "v3.1": 3, "v3.1.1": 4, v5: 5 };

// What does not happen in time must not hang the run.
const patience = setTimeout(() => {
  console.error("MQTT.js waited in vain");
  process.exit(1);
}, 60_000);

async function connect(clientId, protocolVersion, more = {}) {
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, {
    clientId,
    protocolVersion,
    protocolId: protocolVersion === 3 ? "MQIsdp" : "MQTT",
    reconnectPeriod: 0,
    ...more,
  });
  const waiting = [];
  const wanted = [];
  client.on("message", (topic, payload, packet) => {
    const message = { topic, payload: payload.toString(), packet };
    const next = wanted.shift();
    if (next) next(message);
    else waiting.push(message);
  });
  client.message = () =>
    waiting.length ? waiting.shift() : new Promise((resolve) => wanted.push(resolve));
  client.expect = async (topic, payload, retain = false) => {
    const message = await client.message();
    assert.deepEqual([message.topic, message.payload], [topic, payload]);
    assert.equal(message.packet.retain, retain);
    return message.packet;
  };
  return client;
}

for (const [name, version] of Object.entries(versions)) {
  const client = await connect(`${name}-js`, version);
  const granted = await client.subscribeAsync([`${name}/+`, `${name}/deep/#`]);
  assert.deepEqual(granted.map((one) => one.qos), [0, 0]);
  await client.publishAsync(`${name}/a`, "one");
  await client.publishAsync(`${name}/b/c`, "unheard");
  await client.publishAsync(`${name}/deep/er`, "two");
  await client.expect(`${name}/a`, "one");
  await client.expect(`${name}/deep/er`, "two");
  console.log(`ok ${name} wildcards`);

  await client.publishAsync(`${name}/kept/a`, "kept", { retain: true });
  await client.subscribeAsync(`${name}/kept/#`);
  await client.expect(`${name}/kept/a`, "kept", true);
  await client.publishAsync(`${name}/kept/a`, "", { retain: true });
  await client.expect(`${name}/kept/a`, "");
  await client.unsubscribeAsync(`${name}/kept/#`);
  await client.publishAsync(`${name}/kept/a`, "unheard");
  console.log(`ok ${name} retained`);

  const will = { topic: `${name}/will`, payload: "gone" };
  const mortal = await connect(`${name}-mortal`, version, { will });
  mortal.stream.destroy();
  await client.expect(`${name}/will`, "gone");
  console.log(`ok ${name} will`);
  await client.endAsync();
}

const client = await connect("properties-js", 5);
await client.subscribeAsync("properties", { properties: { subscriptionIdentifier: 7 } });
const properties = { userProperties: { one: ["1", "2"] }, contentType: "text/plain" };
await client.publishAsync("properties", "x", { properties });
const packet = await client.expect("properties", "x");
assert.deepEqual({ ...packet.properties.userProperties }, properties.userProperties);
assert.equal(packet.properties.contentType, "text/plain");
assert.equal(packet.properties.subscriptionIdentifier, 7);
await client.subscribeAsync("local", { nl: true });
await client.publishAsync("local", "unheard");
await client.publishAsync("properties", "nothing before this");
await client.expect("properties", "nothing before this");
console.log("ok v5 properties and no local");

const taken = once(client, "disconnect");
const heir = await connect("properties-js", 5);
assert.equal((await taken)[0].reasonCode, 0x8e);
await heir.endAsync();
console.log("ok v5 takeover");
clearTimeout(patience);

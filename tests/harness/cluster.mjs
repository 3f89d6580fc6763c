// A private Redis Cluster of three masters and three replicas.

import { Bus } from "./bus.mjs";
import { freePort } from "./ports.mjs";
import { Redis } from "./redis.mjs";
import { until } from "./until.mjs";

const MASTERS = 3;
const SLOTS = 16_384;

/** After so many milliseconds without an answer the nodes take one for dead. */
const NODE_TIMEOUT = 1_500;

/** How long the nodes may take to agree again: a master that is started waits for two seconds. */
const IN_SERVICE_WITHIN = 30_000;

/** The slot of a key, by the part in braces where there is one. */
function slotOf(key) {
  const [, tag = key] = key.match(/\{([^}]+)\}/) ?? [];
  let crc = 0;
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  }
  return (crc & 0xffff) % SLOTS;
}

const roomKey = (code) => `room:{${code}}`;

/**
 * Six nodes, each with a folder and an append-only file of its own. What tests ask it
 * goes to the master of the key, as on one Redis.
 */
export class RedisCluster {
  #bus;

  /** How many masters share the slots. */
  shards = MASTERS;

  /** The nodes, whatever their roles are now; each has an `id`. */
  nodes = [];

  static async start(options = {}) {
    const cluster = new RedisCluster();
    const links = [];
    for (let n = 0; n < MASTERS * 2; n += 1) {
      links.push({ port: await freePort(), target: await freePort() });
    }
    cluster.#bus = await Bus.open(links);
    cluster.nodes = await Promise.all(links.map(({ port, target }) => Redis.start({
      "cluster-enabled": "yes",
      "cluster-port": target,
      "cluster-announce-bus-port": port,
      "cluster-node-timeout": NODE_TIMEOUT,
      "cluster-require-full-coverage": "no",
      "repl-diskless-sync-delay": 0,
      "shutdown-timeout": 0,
      ...options,
    })));
    await cluster.#join(links);
    cluster.url = `redis://${cluster.nodes.map(({ port }) => `127.0.0.1:${port}`).join(",")}`;
    return cluster;
  }

  async #join(links) {
    const { nodes } = this;
    for (const [n, node] of nodes.entries()) {
      node.id = await node.command("CLUSTER", "MYID");
      await node.command("CLUSTER", "SET-CONFIG-EPOCH", n + 1);
      if (n >= MASTERS) continue;
      const [first, end] = [n, n + 1].map((part) => Math.floor((part * SLOTS) / MASTERS));
      await node.command("CLUSTER", "ADDSLOTSRANGE", first, end - 1);
    }
    this.#bus.names(nodes.map(({ id }, n) => [links[n].port, id]));
    await until("all nodes know each other", async () => {
      let joined = true;
      for (const [n, node] of nodes.entries()) {
        const seen = await this.#seenBy(node);
        // Again where a handshake took too long and was given up.
        if (n > 0 && seen.length === 1) {
          await node.command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, links[0].port);
        }
        joined &&= seen.length === nodes.length && !seen.some(({ flags }) => flags.includes("handshake"));
      }
      return joined;
    });
    for (const [n, node] of nodes.slice(MASTERS).entries()) {
      await node.command("CLUSTER", "REPLICATE", nodes[n].id);
    }
    await this.isInService();
  }

  // What a node knows of all.
  async #seenBy(node) {
    const text = await node.command("CLUSTER", "NODES");
    return text.trimEnd().split("\n").map((line) => {
      const [id, , flags, master, , , epoch, link, ...slots] = line.split(" ");
      return {
        id,
        master,
        link,
        flags: flags.split(","),
        epoch: Number(epoch),
        // Slots that are on their way stand in brackets.
        slots: slots.filter((range) => !range.startsWith("[")).map((range) => range.split("-").map(Number)),
      };
    });
  }

  /** What a node says of itself: `{id, master, flags, epoch, slots}`. */
  async self(node) {
    return (await this.#seenBy(node)).find(({ flags }) => flags.includes("myself"));
  }

  // What each node that answers says of itself.
  async #selves() {
    const selves = await Promise.all(this.nodes.map((node) =>
      this.self(node).then((self) => ({ node, ...self }), () => undefined)));
    return selves.filter(Boolean);
  }

  /** The masters, as they see themselves, that have slots. */
  async masters() {
    return (await this.#selves())
      .filter(({ flags, slots }) => flags.includes("master") && slots.length > 0)
      .map(({ node }) => node);
  }

  /** The master of a key: of several that think so, the one that was elected last. */
  async masterOf(key) {
    const slot = slotOf(key);
    const owners = (await this.#selves()).filter(({ flags, slots }) =>
      flags.includes("master") && slots.some(([first, last = first]) => first <= slot && slot <= last));
    owners.sort((one, other) => other.epoch - one.epoch);
    if (owners.length === 0) throw new Error(`nobody has slot ${slot}`);
    return owners[0].node;
  }

  slotOfRoom(code) {
    return slotOf(roomKey(code));
  }

  masterOfRoom(code) {
    return this.masterOf(roomKey(code));
  }

  /** The replica of a master. */
  async replicaOf(master) {
    return (await this.#selves()).find((self) => self.master === master.id).node;
  }

  /** Resolves when a node sees itself as the master of some slots. */
  becomesMaster(node) {
    return until(`node ${node.port} is a master`, async () => {
      const { flags, slots } = await this.self(node);
      return flags.includes("master") && slots.length > 0;
    });
  }

  /** Resolves when a node sees itself as a replica. */
  becomesReplica(node) {
    return until(`node ${node.port} is a replica`, async () => (await this.self(node)).flags.includes("slave"));
  }

  /** Resolves when a node has stopped to serve, because it sees too few others. */
  isDown(node) {
    return until(`node ${node.port} serves no more`, async () =>
      /cluster_state:fail/.test(await node.command("CLUSTER", "INFO")));
  }

  /** Resolves when all six agree, and each master has a replica that is in step. */
  isInService() {
    return until("the cluster is in service", async () => {
      for (const node of this.nodes) {
        if (!/cluster_state:ok/.test(await node.command("CLUSTER", "INFO"))) return false;
        const seen = await this.#seenBy(node);
        const replicas = seen.filter(({ flags }) => flags.includes("slave"));
        if (new Set(replicas.map(({ master }) => master)).size !== MASTERS) return false;
        if (!seen.every(({ link, flags }) => link === "connected" && !/fail/.test(flags))) return false;
        if (/master_link_status:down/.test(await node.command("INFO", "replication"))) return false;
      }
      return true;
    }, IN_SERVICE_WITHIN);
  }

  /** Cuts the links between groups of nodes. Clients and replication still pass. */
  split(groups) {
    this.#bus.split(groups.map((nodes) => nodes.map(({ id }) => id)));
  }

  /** All nodes reach each other again. */
  heal() {
    this.#bus.heal();
  }

  /** Sends a command to the master of its key. */
  async command(name, key, ...more) {
    return (await this.masterOf(key)).command(name, key, ...more);
  }

  /** Sends commands to the master of the first key among them. */
  async pipeline(commands) {
    const [, key] = commands.find((parts) => parts.length > 1);
    return (await this.masterOf(key)).pipeline(commands);
  }

  async keysOf(code) {
    return (await this.masterOfRoom(code)).keysOf(code);
  }

  async stateKeysOf(code) {
    return (await this.masterOfRoom(code)).stateKeysOf(code);
  }

  /** kill -9 of all nodes at once. */
  async kill() {
    await Promise.all(this.nodes.map((node) => node.kill()));
  }

  async restart() {
    await Promise.all(this.nodes.map((node) => node.restart()));
    await this.isInService();
  }

  async stop() {
    await Promise.all(this.nodes.map((node) => node.stop()));
  }
}

// The links between the nodes of a Redis Cluster, which can be cut.
//
// Each node announces a port of ours for the cluster's bus, and we forward it. The proxies
// run in a thread of their own: a test file that is busy for a second must not look to the
// nodes like a node that died.

import { connect, createServer } from "node:net";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

// Each message on the bus begins with a header; the id of the node that sends it is at
// this place, in Redis 7 and in Valkey.
const SENDER = { from: 40, to: 80 };

/** The bus of a cluster. */
export class Bus {
  #worker;

  /** `links`: `{port, target}` of each node, the announced port and the node's own. */
  static async open(links) {
    const bus = new Bus();
    bus.#worker = new Worker(new URL(import.meta.url), { workerData: links });
    bus.#worker.unref();
    await new Promise((resolve, reject) => {
      bus.#worker.once("message", resolve);
      bus.#worker.once("error", reject);
    });
    return bus;
  }

  /** Tells which node is behind which announced port: `[port, id]` of each. */
  names(ids) {
    this.#worker.postMessage({ ids: new Map(ids) });
  }

  /** Cuts every link between nodes of different groups, each a list of ids. */
  split(groups) {
    const numbers = groups.flatMap((ids, group) => ids.map((id) => [id, group]));
    this.#worker.postMessage({ groups: new Map(numbers) });
  }

  /** All nodes reach each other again. */
  heal() {
    this.#worker.postMessage({ groups: new Map() });
  }
}

function forward(links) {
  const open = new Set();
  let ids = new Map();
  let groups = new Map();

  const isCut = ({ sender, port }) =>
    sender !== undefined && groups.get(sender) !== groups.get(ids.get(port));

  const accept = (client, port, target) => {
    const server = connect({ port: target, host: "127.0.0.1", noDelay: true });
    const link = { port, sender: undefined };
    let head = Buffer.alloc(0);
    link.end = () => {
      open.delete(link);
      client.destroy();
      server.destroy();
    };
    open.add(link);
    for (const socket of [client, server]) {
      socket.on("error", link.end);
      socket.on("close", link.end);
    }
    // Nothing passes before it is known who sends.
    client.on("data", (chunk) => {
      if (link.sender === undefined) {
        head = Buffer.concat([head, chunk]);
        if (head.length < SENDER.to) return;
        link.sender = head.toString("latin1", SENDER.from, SENDER.to);
        chunk = head;
      }
      if (isCut(link)) link.end();
      else server.write(chunk);
    });
    server.on("data", (chunk) => client.write(chunk));
  };

  parentPort.on("message", (message) => {
    ids = message.ids ?? ids;
    groups = message.groups ?? groups;
    for (const link of open) if (isCut(link)) link.end();
  });
  return Promise.all(links.map(({ port, target }) => new Promise((resolve) => {
    createServer({ noDelay: true }, (client) => accept(client, port, target))
      .listen(port, "127.0.0.1", resolve);
  })));
}

if (!isMainThread) {
  await forward(workerData);
  parentPort.postMessage("open");
}

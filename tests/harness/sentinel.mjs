// A private Redis with a replica, and the three sentinels that watch them.

import { Redis } from "./redis.mjs";
import { until } from "./until.mjs";

const NAME = "rooms";

/** After so many milliseconds without an answer the sentinels take the master for dead. */
const DOWN_AFTER = 1_500;

/** How long the sentinels may take to agree again after a fault. */
const IN_SERVICE_WITHIN = 30_000;

const fields = (list) => Object.fromEntries(
  Array.from({ length: list.length / 2 }, (_, n) => [list[n * 2], list[n * 2 + 1]]));

/** What tests ask it goes to the master of the moment, as on one Redis. */
export class RedisSentinels {
  /** Both servers, whatever their roles are now. */
  servers = [];

  sentinels = [];

  static async start(options = {}) {
    const trio = new RedisSentinels();
    const settings = { "repl-diskless-sync-delay": 0, "shutdown-timeout": 0, ...options };
    const master = await Redis.start(settings);
    const replica = await Redis.start(settings);
    trio.servers = [master, replica];
    await replica.command("REPLICAOF", "127.0.0.1", master.port);
    await replica.isInStepWithItsMaster();
    trio.sentinels = await Promise.all([1, 2, 3].map(() => Redis.sentinel([
      `sentinel monitor ${NAME} 127.0.0.1 ${master.port} 2`,
      `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER}`,
      `sentinel failover-timeout ${NAME} 3000`,
    ])));
    trio.url = `redis+sentinel://${trio.sentinels.map(({ port }) => `127.0.0.1:${port}`).join(",")}/${NAME}`;
    await trio.isInService();
    return trio;
  }

  /** The master, as all sentinels say. */
  master() {
    return until("the sentinels agree on a master", async () => {
      const ports = new Set();
      for (const sentinel of this.sentinels) {
        const [, port] = await sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME);
        ports.add(Number(port));
      }
      return ports.size === 1 && this.servers.find(({ port }) => ports.has(port));
    });
  }

  /** The one that is not the master. */
  async replica() {
    const master = await this.master();
    return this.servers.find((server) => server !== master);
  }

  /** Resolves when all sentinels say that this is the master. */
  becomesMaster(server) {
    return until(`server ${server.port} is the master`, async () => {
      const [role] = await server.command("ROLE");
      return role === "master" && (await this.master()) === server;
    });
  }

  /** Asks for a failover, which waits for no write. */
  async failOver() {
    await this.sentinels[0].command("SENTINEL", "FAILOVER", NAME);
  }

  /**
   * Makes a server that has been away the replica of the master. The sentinels do the same,
   * ten seconds later.
   */
  async follow(server) {
    const master = await this.master();
    if (master !== server) await server.command("REPLICAOF", "127.0.0.1", master.port);
  }

  /**
   * Resolves when all sentinels know each other and the replica, and it is in step. What they
   * say of its link may be ten seconds old, so the replica itself is asked.
   */
  isInService() {
    return until("the sentinels are in service", async () => {
      for (const sentinel of this.sentinels) {
        const master = fields(await sentinel.command("SENTINEL", "MASTER", NAME));
        const replicas = (await sentinel.command("SENTINEL", "REPLICAS", NAME)).map(fields);
        if (master.flags !== "master" || master["num-other-sentinels"] !== "2") return false;
        if (replicas.map(({ flags }) => flags).join() !== "slave") return false;
      }
      await (await this.replica()).isInStepWithItsMaster();
      return true;
    }, IN_SERVICE_WITHIN);
  }

  async command(...parts) {
    return (await this.master()).command(...parts);
  }

  async pipeline(commands) {
    return (await this.master()).pipeline(commands);
  }

  async keysOf(code) {
    return (await this.master()).keysOf(code);
  }

  async stateKeysOf(code) {
    return (await this.master()).stateKeysOf(code);
  }

  /** kill -9 of both servers; the sentinels live. */
  async kill() {
    await Promise.all(this.servers.map((server) => server.kill()));
  }

  /** Starts both again, the master first: what it has is what there is. */
  async restart() {
    const master = await this.master();
    await master.restart();
    await (await this.replica()).restart();
    await this.follow(await this.replica());
    await this.isInService();
  }

  async stop() {
    // The sentinels first: none of them is to fail over meanwhile.
    await Promise.all(this.sentinels.map((sentinel) => sentinel.stop()));
    await Promise.all(this.servers.map((server) => server.stop()));
  }
}

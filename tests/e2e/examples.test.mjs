// What the examples show works as it is written there.

import { cpSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { Program, temporaryFolder } from "../harness/program.mjs";
import { Roomkeeper } from "../harness/roomkeeper.mjs";
import { until } from "../harness/until.mjs";

const EXAMPLES = fileURLToPath(new URL("../../examples", import.meta.url));
const PACKAGES = fileURLToPath(new URL("../node_modules", import.meta.url));

const keeper = await Roomkeeper.start({ gateways: 2 });

/** Starts an example with the packages of the tests, as if they were its own. */
function example(name, args) {
  const cwd = temporaryFolder();
  cpSync(EXAMPLES, cwd, { recursive: true, filter: (path) => !path.endsWith("node_modules") });
  symlinkSync(PACKAGES, join(cwd, "node_modules"));
  return new Program({
    name,
    command: process.execPath,
    args: [name, ...args],
    cwd,
    env: { ROOMKEEPER_URL: keeper.gateways[0].url },
  });
}

test("the chat bot answers, and answers after a break what was said meanwhile", async (t) => {
  const { code } = await keeper.room();
  const bot = example("chat-bot.mjs", [code]);
  t.after(() => bot.kill());
  await until("the bot is in the room", () => bot.log.includes(`in room ${code}`));

  const ann = await keeper.joined(code, { username: "Ann", gateway: 1 });
  await ann.say(code, "bot: hello");
  await ann.next("chat:message", ({ message }) => message === "hello, Ann");

  await keeper.gateways[0].program.kill();
  await ann.say(code, "bot: are you there");
  keeper.gateways[0].program.start();
  await ann.next("chat:message", ({ message }) => message === "are you there, Ann");
});

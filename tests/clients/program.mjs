// Starts clawhand for a test, as program.py does: how it is called stands in program.json.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
export const ROOT = dirname(dirname(HERE));
const CALLS = JSON.parse(readFileSync(process.env.CLAWHAND_PROGRAM ?? join(HERE, "program.json"), "utf8"));

const freePort = () =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });

const listens = (port) =>
  new Promise((resolve) => {
    const probe = connect(port, "127.0.0.1");
    probe.once("connect", () => resolve(true)).once("error", () => resolve(false));
    probe.once("connect", () => probe.destroy());
  });

/** The longest text in a JSON value: of all that `keys create` prints, the key itself. */
function longestText(value) {
  if (typeof value === "string") return value;
  if (value === null || typeof value !== "object") return "";
  return Object.values(value).map(longestText).reduce((a, b) => (b.length > a.length ? b : a), "");
}

function keyIn(printed) {
  try {
    return longestText(JSON.parse(printed));
  } catch {
    return printed.split(/\s+/).reduce((a, b) => (b.length > a.length ? b : a), "");
  }
}

/** A running clawhand: {url, key, command(call), env, end()}. */
export async function startProgram() {
  const binary = process.env.CLAWHAND_BIN ?? join(ROOT, "target", "debug", "clawhand");
  const data = mkdtempSync(join(tmpdir(), "clawhand-clients."));
  const port = String(await freePort());
  const fill = (word) => word.replaceAll("{data}", data).replaceAll("{port}", port);
  const own = Object.fromEntries(Object.entries(CALLS.env).map(([name, value]) => [name, fill(value)]));
  const command = (call) => [binary, ...CALLS[call].map(fill)];
  const clean = () => rmSync(data, { recursive: true, force: true });
  const program = { data, env: own, command, url: process.env.CLAWHAND_URL, key: process.env.CLAWHAND_KEY ?? "", end: clean };
  if (program.url) return program;

  const env = { ...process.env, ...own };
  const [first, ...rest] = command("key");
  program.key = keyIn(execFileSync(first, rest, { env, cwd: ROOT, encoding: "utf8" }));
  program.url = `http://127.0.0.1:${port}/mcp`;
  const log = join(data, "serve.log");
  const [serve, ...args] = command("serve");
  const out = openSync(log, "w");
  const server = spawn(serve, args, { env, cwd: ROOT, stdio: ["ignore", out, out] });
  const ended = new Promise((resolve) => server.once("exit", resolve));
  program.lastWords = () => readFileSync(log, "utf8").slice(-4000);
  program.end = async () => {
    server.kill("SIGTERM");
    const patience = globalThis.setTimeout(() => server.kill("SIGKILL"), 20_000);
    await ended;
    clearTimeout(patience);
    clean();
  };
  for (let tries = 0; tries < 600; tries += 1) {
    if (server.exitCode !== null) break;
    if (await listens(Number(port))) return program;
    await pause(50);
  }
  const words = program.lastWords();
  await program.end();
  throw new Error(`the server did not start:\n${words}`);
}

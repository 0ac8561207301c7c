// The whole flow with the command line of the official Inspector, one process a call: over stdio and over HTTP with a
// key, and its lint of the tools' schemas. Ends with the line 'N passed, N failed, N skipped'.
//
// Over stdio each call is a clawhand of its own on the same data; the server of the HTTP half runs beside them.

import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

import { ROOT, startProgram } from "./program.mjs";

const run = promisify(execFile);
const SEED = {
  project_name: "vault-cert-client",
  goal: "Test Python client against staging",
  target_ref: "vault-staging",
  execution_intent: "install_and_test",
};
const FINAL = ["succeeded", "failed", "timed_out", "cancelled", "denied", "expired", "unknown", "infra_failed"];
const NOBODY = "exe_00000000000070008000000000000000";
const DEADLINE_MS = 300_000;

function expect(condition, says) {
  if (!condition) throw new Error(says);
}

/** The Inspector's program: from NODE_PATH, or from the PATH. */
function inspector() {
  for (const folder of (process.env.NODE_PATH ?? "").split(":").filter(Boolean)) {
    const bin = join(folder, ".bin", "mcp-inspector");
    if (existsSync(bin)) return bin;
  }
  return execFileSync("which", ["mcp-inspector"], { encoding: "utf8" }).trim();
}

const INSPECTOR = inspector();

/** A way to clawhand: calls the Inspector and answers {code, out, err}. */
function way(name, options) {
  return {
    name,
    async inspect(...more) {
      const args = [INSPECTOR, "--cli", ...options, "--format", "json", ...more];
      try {
        const done = await run(process.execPath, args, { cwd: ROOT, maxBuffer: 1 << 26, timeout: 90_000 });
        return { code: 0, out: done.stdout, err: done.stderr };
      } catch (error) {
        if (typeof error.code !== "number") throw error;
        return { code: error.code, out: error.stdout, err: error.stderr };
      }
    },
    async call(tool, args) {
      const file = ["--method", "tools/call", "--tool-name", tool, "--tool-args-json", JSON.stringify(args)];
      const done = await this.inspect(...file);
      expect(done.out, `${tool}: the inspector said ${done.err}`);
      return JSON.parse(done.out).result;
    },
    async good(tool, args) {
      const result = await this.call(tool, args);
      expect(!result.isError, `${tool} refused: ${JSON.stringify(result.structuredContent)}`);
      return result.structuredContent;
    },
    async bad(tool, args, code) {
      const result = await this.call(tool, args);
      expect(result.isError, `${tool} took ${JSON.stringify(args)}`);
      const refusal = result.structuredContent;
      expect(refusal.code === code && refusal.message && refusal.hint, `${tool}: ${JSON.stringify(refusal)}`);
    },
  };
}

/** The fixture as one .tar.gz, in base64. */
function archive(data) {
  const file = join(data, "project.tar.gz");
  const folder = join(data, "vault-cert-client");
  cpSync(join(ROOT, "tests", "fixtures", "vault-cert-client"), folder, {
    recursive: true,
    filter: (path) => !/(__pycache__|\.venv|reports)$/.test(path),
  });
  execFileSync("tar", ["-C", data, "-czf", file, "vault-cert-client"]);
  return readFileSync(file);
}

async function lists(to) {
  const listed = await to.inspect("--method", "tools/list", "--strict");
  expect(listed.code === 0, `the lint says ${listed.err}`);
  const { tools } = JSON.parse(listed.out).result;
  expect(tools.length === 9, `there are ${tools.length} tools`);
  const { targets } = await to.good("list_targets", {});
  expect(targets.some((target) => target.name === "vault-staging"), JSON.stringify(targets));
  const templates = await to.inspect("--method", "resources/templates/list");
  expect(templates.out.includes("clawhand://artifacts/{artifact_id}"), templates.out + templates.err);
}

async function refuses(to) {
  await to.bad("submit_task", { ...SEED, host: "h" }, "invalid_argument");
  await to.bad("submit_task", { ...SEED, goal: 5 }, "invalid_argument");
  await to.bad("submit_task", { ...SEED, target_ref: "no-such-target" }, "unknown_target");
  await to.bad("get_result", { execution_id: NOBODY }, "not_found");
}

async function follows(to, execution) {
  const until = Date.now() + DEADLINE_MS;
  let log = "";
  let cursor;
  while (Date.now() < until) {
    const args = { execution_id: execution, wait_ms: 10_000, ...(cursor === undefined ? {} : { cursor }) };
    const status = await to.good("get_status", args);
    log += status.log.text;
    cursor = status.log.next_cursor;
    if (FINAL.includes(status.state) && status.log.done) return { log, state: status.state };
  }
  throw new Error(`not over in time; the log ends with ${log.slice(-500)}`);
}

async function wholeFlow(to, data) {
  const { task_id, needs } = await to.good("submit_task", SEED);
  expect(needs.length > 0, "a task without files needs nothing");
  const content = archive(data);
  const digest = `sha256:${createHash("sha256").update(content).digest("hex")}`;
  const upload = { task_id, name: "project.tar.gz", content_base64: content.toString("base64"), digest };
  const uploaded = await to.good("upload_artifact", upload);
  expect(uploaded.needs.length === 0, JSON.stringify(uploaded));
  const started = await to.good("start_execution", { task_id });
  const { log, state } = await follows(to, started.execution_id);
  expect(state === "succeeded" && log.includes("15 passed"), `${state}; the log ends with ${log.slice(-1000)}`);
  const result = await to.good("get_result", { execution_id: started.execution_id });
  const { passed, failed, skipped } = result.tests;
  expect(passed === 15 && failed === 0 && skipped === 1, JSON.stringify(result.tests));
  expect(result.artifacts.length > 0, "nothing was made");
  for (const artifact of result.artifacts) {
    const read = await to.inspect("--method", "resources/read", "--uri", artifact.uri);
    expect(read.code === 0, `${artifact.uri}: ${read.err}`);
    const [content] = JSON.parse(read.out).result.contents;
    const bytes = content.text === undefined ? Buffer.from(content.blob, "base64") : Buffer.from(content.text);
    const got = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    expect(got === artifact.digest, `${artifact.name} differs`);
  }
}

async function withoutAKey(program) {
  const to = way("http", [program.url, "--transport", "http", "--stored-auth-only"]);
  const listed = await to.inspect("--method", "tools/list");
  expect(listed.code !== 0, "the tools were listed without a key");
}

const count = { passed: 0, failed: 0 };

async function step(name, words, act) {
  try {
    await act;
    count.passed += 1;
    console.log(`ok     ${name}: ${words}`);
  } catch (error) {
    count.failed += 1;
    console.log(`FAILED ${name}: ${words}: ${error.message}`);
  }
}

async function main() {
  const program = await startProgram();
  try {
    const [command, ...args] = program.command("stdio");
    const config = join(program.data, "inspector.json");
    const server = { command, args, env: program.env, cwd: ROOT };
    writeFileSync(config, JSON.stringify({ mcpServers: { clawhand: server } }));
    const bearer = program.key ? ["--header", `Authorization: Bearer ${program.key}`] : [];
    const ways = [
      way("stdio, 2025-11-25", ["--config", config, "--server", "clawhand", "--protocol-era", "legacy"]),
      way("http, 2026-07-28", [program.url, "--transport", "http", "--protocol-era", "modern", ...bearer]),
    ];
    for (const to of ways) {
      await step(to.name, "lists tools and targets, schemas are portable", lists(to));
      await step(to.name, "refuses what is wrong", refuses(to));
      await step(to.name, "runs the seed example", wholeFlow(to, program.data));
    }
    await step("http", "refuses who has no key", withoutAKey(program));
    if (count.failed && program.lastWords) console.log(program.lastWords());
  } finally {
    await program.end();
  }
  console.log(`${count.passed} passed, ${count.failed} failed, 0 skipped`);
  process.exitCode = count.failed ? 1 : 0;
}

await main();

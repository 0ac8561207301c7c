"""The whole flow with the official Python SDK: over stdio and over HTTP with a key, as a client of 2025-11-25 and of
2026-07-28, by the plain tools and as an MCP task. Ends with the line 'N passed, N failed, N skipped'.
"""

import asyncio
import base64
import hashlib
import io
import sys
import tarfile
import time
import traceback
from typing import Any, ClassVar, Literal

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.extension import ClientExtension, ResultClaim
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from program import ROOT, Program

SEED = {
    "project_name": "vault-cert-client",
    "goal": "Test Python client against staging",
    "target_ref": "vault-staging",
    "execution_intent": "install_and_test",
}
FIXTURES = ROOT / "tests" / "fixtures"
TOOLS = [
    "cancel_execution",
    "get_result",
    "get_status",
    "list_targets",
    "list_tasks",
    "respond_to_approval",
    "start_execution",
    "submit_task",
    "upload_artifact",
]
FINAL = {"succeeded", "failed", "timed_out", "cancelled", "denied", "expired", "unknown", "infra_failed"}
NOBODY = "exe_00000000000070008000000000000000"
DEADLINE_S = 300


class Wrong(Exception):
    """Something is not as it must be."""


def expect(condition, says):
    if not condition:
        raise Wrong(says)


def archive(*folders):
    """The folders as one .tar.gz, a later one over an earlier one, in base64."""
    files = {}
    for folder in folders:
        for path in sorted((FIXTURES / folder).rglob("*")):
            hidden = {"__pycache__", ".venv", "reports"} & set(path.parts)
            if path.is_file() and not hidden:
                files[path.relative_to(FIXTURES / folder).as_posix()] = path
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, path in files.items():
            tar.add(path, f"project/{name}")
    return packed.getvalue()


async def good(client, tool, arguments, **more):
    answer = await client.call_tool(tool, arguments, read_timeout_seconds=60, **more)
    expect(not answer.is_error, f"{tool} refused: {answer.structured_content}")
    return answer.structured_content


async def bad(client, tool, arguments, code):
    answer = await client.call_tool(tool, arguments)
    refusal = answer.structured_content
    expect(answer.is_error, f"{tool} took {arguments}")
    expect(set(refusal) == {"code", "message", "retryable", "hint"}, f"not the form of a refusal: {refusal}")
    expect(refusal["code"] == code, f"{tool}: {code} was expected: {refusal}")
    expect(refusal["message"] and refusal["hint"], f"{tool}: no words in {refusal}")
    return refusal


async def lists(client):
    listed = await client.list_tools()
    expect([tool.name for tool in listed.tools] == TOOLS, f"the tools are {[tool.name for tool in listed.tools]}")
    for tool in listed.tools:
        expect(tool.title and tool.description and tool.output_schema, f"{tool.name} is not described")
    targets = (await good(client, "list_targets", {}))["targets"]
    names = {target["name"] for target in targets}
    expect("vault-staging" in names, f"the targets are {names}")


async def refuses(client):
    await bad(client, "submit_task", SEED | {"host": "h"}, "invalid_argument")
    await bad(client, "submit_task", SEED | {"goal": 5}, "invalid_argument")
    await bad(client, "submit_task", {"project_name": "x"}, "invalid_argument")
    await bad(client, "submit_task", SEED | {"target_ref": "no-such-target"}, "unknown_target")
    await bad(client, "get_result", {"execution_id": NOBODY}, "not_found")
    await bad(client, "get_status", {"execution_id": NOBODY, "wait_ms": -1}, "invalid_argument")
    for call in (client.call_tool("no_such_tool", {}), client.read_resource("clawhand://artifacts/nothing")):
        try:
            await call
        except MCPError:
            continue
        raise Wrong("something that is not there was answered")


async def prepare(client, project, *folders):
    """Submits the seed example and uploads its files; answers the task's id."""
    submitted = await good(client, "submit_task", SEED | {"project_name": project})
    expect(submitted["target"]["name"] == "vault-staging", f"the target is {submitted['target']}")
    expect(submitted["needs"], "a task without files needs nothing")
    task = submitted["task_id"]
    content = archive(*folders)
    upload = {"task_id": task, "name": "project.tar.gz", "content_base64": base64.b64encode(content).decode()}
    await bad(client, "upload_artifact", upload | {"digest": "sha256:" + "0" * 64}, "digest_mismatch")
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    uploaded = await good(client, "upload_artifact", upload | {"digest": digest})
    expect(uploaded["artifact"]["digest"] == digest, f"the artifact is {uploaded['artifact']}")
    expect(uploaded["artifact"]["size"] == len(content), f"the artifact is {uploaded['artifact']}")
    expect(uploaded["needs"] == [], f"it still needs {uploaded['needs']}")
    expect(uploaded["plan"]["steps"], "the plan has no steps")
    return task, upload


async def follow(client, execution, progress):
    """Reads the log page by page until it is done; answers the log and the last state."""
    log, cursor, until = "", None, time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        arguments = {"execution_id": execution, "wait_ms": 10_000}
        if cursor is not None:
            arguments["cursor"] = cursor
        status = await good(client, "get_status", arguments, progress_callback=progress)
        log += status["log"]["text"]
        cursor = status["log"]["next_cursor"]
        if status["state"] in FINAL and status["log"]["done"]:
            return log, status["state"]
    raise Wrong(f"not over after {DEADLINE_S} s; the log ends with {log[-500:]}")


def check_result(result, state, passed, failed):
    expect(result["state"] == state, f"it ended {result['state']}: {result['summary']} {result.get('reason')}")
    tests = result["tests"]
    counted = (tests["passed"], tests["failed"], tests["skipped"])
    expect(counted == (passed, failed, 1), f"the tests are {counted}")
    expect(len(tests["failures"]) == failed, f"the failures are {tests['failures']}")
    expect(all(step["state"] in {"succeeded", "failed"} for step in result["steps"]), f"steps: {result['steps']}")


async def check_artifacts(client, result):
    expect(result["artifacts"], "nothing was made")
    for artifact in result["artifacts"]:
        read = (await client.read_resource(artifact["uri"])).contents[0]
        text = getattr(read, "text", None)
        content = text.encode() if text is not None else base64.b64decode(read.blob)
        expect(len(content) == artifact["size"], f"{artifact['name']} has {len(content)} bytes")
        expect("sha256:" + hashlib.sha256(content).hexdigest() == artifact["digest"], f"{artifact['name']} differs")


async def whole_flow(client):
    """The seed example, by the plain tools."""
    told = []

    async def progress(done, total, message):
        told.append((done, total, message))

    task, upload = await prepare(client, "vault-cert-client", "vault-cert-client")
    key = {"task_id": task, "idempotency_key": "once"}
    started = await good(client, "start_execution", key)
    again = await good(client, "start_execution", key)
    expect(again["execution_id"] == started["execution_id"], "the same key started twice")
    await bad(client, "upload_artifact", upload, "already_started")
    execution = started["execution_id"]
    log, state = await follow(client, execution, progress)
    expect(state == "succeeded", f"it ended {state}; the log ends with {log[-1000:]}")
    expect("15 passed" in log, f"the log ends with {log[-500:]}")
    expect(told, "no progress was told")
    expect(any(message for _, _, message in told), f"the progress has no words: {told}")
    answer = await client.call_tool("get_result", {"execution_id": execution})
    result = answer.structured_content
    check_result(result, "succeeded", 15, 0)
    links = [block for block in answer.content if block.type == "resource_link"]
    expect([str(link.uri) for link in links] == [one["uri"] for one in result["artifacts"]], "the links differ")
    await check_artifacts(client, result)
    tasks = (await good(client, "list_tasks", {"limit": 100}))["tasks"]
    mine = [one for one in tasks if one["task_id"] == task]
    expect(mine and mine[0]["state"] == "succeeded", f"the list says {mine}")
    return execution


class CreatedTask(types.Result):
    result_type: Literal["task"] = "task"
    task_id: str
    status: str
    poll_interval_ms: int = 1000


class TaskState(types.Result):
    task_id: str
    status: str
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class TaskParams(types.RequestParams):
    task_id: str


class GetTask(types.Request[TaskParams, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    params: TaskParams
    name_param: ClassVar[str | None] = "taskId"


class Tasks(ClientExtension):
    """The tasks extension: a call that became a task is answered when the task is over."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self):
        self.seen = []

    def claims(self):
        return [ResultClaim(result_type="task", model=CreatedTask, resolve=self.resolve)]

    async def resolve(self, created, context):
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until:
            request = GetTask(params=TaskParams(task_id=created.task_id))
            state = await context.session.send_request(request, TaskState)
            self.seen.append(state.status)
            if state.status == "completed":
                return types.CallToolResult.model_validate(state.result)
            expect(state.status == "working", f"the task is {state.status}: {state.error}")
            await asyncio.sleep(created.poll_interval_ms / 1000)
        raise Wrong(f"the task is not over after {DEADLINE_S} s")


async def as_a_task(client, extension):
    """The failing variant; its outcome comes as the result of start_execution."""
    task, _ = await prepare(client, "vault-cert-client-failing", "vault-cert-client", "vault-cert-client-failing")
    answer = await client.call_tool("start_execution", {"task_id": task})
    expect(answer.is_error, "failed tests are no error")
    expect(extension.seen and extension.seen[-1] == "completed", f"the task was {extension.seen}")
    check_result(answer.structured_content, "failed", 13, 2)
    try:
        await client.session.send_request(GetTask(params=TaskParams(task_id=NOBODY)), TaskState)
    except MCPError as error:
        expect((error.code, error.message) == (-32602, "unknown task"), f"an unknown task is {error}")
    else:
        raise Wrong("a task that is not there was answered")


class Story:
    """Runs the steps of one client and counts them."""

    passed = failed = 0

    def __init__(self, name):
        self.name = name

    async def step(self, words, run):
        try:
            answer = await run
        except Exception as error:
            Story.failed += 1
            print(f"FAILED {self.name}: {words}: {error}")
            if not isinstance(error, (Wrong, MCPError)):
                traceback.print_exc()
            return None
        Story.passed += 1
        print(f"ok     {self.name}: {words}", flush=True)
        return answer


def over_stdio(program, **more):
    command, *arguments = program.command("stdio")
    server = StdioServerParameters(command=command, args=arguments, env=program.env, cwd=ROOT)
    return Client(server, read_timeout_seconds=60, **more)


def over_http(program, key, **more):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    http = httpx2.AsyncClient(headers=headers, timeout=60)
    return Client(streamable_http_client(program.url, http_client=http), read_timeout_seconds=60, **more)


async def foreign(client, execution):
    for tool in ("get_status", "get_result", "cancel_execution"):
        await bad(client, tool, {"execution_id": execution}, "not_found")


async def without_a_key(program):
    for key in ("", "wrong"):
        try:
            async with over_http(program, key, mode="legacy") as client:
                await client.list_tools()
        except Exception:
            continue
        raise Wrong(f"the key {key!r} was taken")


async def stories(program):
    story = Story("stdio, 2025-11-25")
    async with over_stdio(program, mode="legacy") as client:
        expect(client.protocol_version == "2025-11-25", f"the revision is {client.protocol_version}")
        await story.step("lists tools and targets", lists(client))
        await story.step("refuses what is wrong", refuses(client))
        execution = await story.step("runs the seed example", whole_flow(client))
    story = Story("http, 2026-07-28")
    async with over_http(program, program.key) as client:
        expect(client.protocol_version == "2026-07-28", f"the revision is {client.protocol_version}")
        await story.step("lists tools and targets", lists(client))
        await story.step("refuses what is wrong", refuses(client))
        await story.step("runs the seed example", whole_flow(client))
        if execution:
            await story.step("sees nothing of another owner", foreign(client, execution))
    extension = Tasks()
    story = Story("http, 2026-07-28 with tasks")
    async with over_http(program, program.key, extensions=[extension]) as client:
        await story.step("gets the failing variant's result as a task", as_a_task(client, extension))
    story = Story("http, 2025-11-25")
    async with over_http(program, program.key, mode="legacy") as client:
        await story.step("lists tools and targets", lists(client))
        await story.step("refuses what is wrong", refuses(client))
    await Story("http").step("refuses who has no key", without_a_key(program))


def main():
    with Program() as program:
        try:
            asyncio.run(stories(program))
        except Exception:
            Story.failed += 1
            traceback.print_exc()
        if Story.failed and program.server:
            print(program.last_words())
    print(f"{Story.passed} passed, {Story.failed} failed, 0 skipped")
    sys.exit(1 if Story.failed else 0)


main()

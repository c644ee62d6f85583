// An agent on the TypeScript SDK: uses servers through a hub and prints what became of it, as JSON.
// node agent.mjs FOLDER URL TOKEN auto|legacy SERVER...   FOLDER: where the client package is installed.

import { pathToFileURL } from "node:url";

const [folder, url, token, mode, ...servers] = process.argv.slice(2);
const entry = `${folder}/node_modules/@modelcontextprotocol/client/dist/index.mjs`;
const { Client, StreamableHTTPClientTransport } = await import(pathToFileURL(entry));

const heard = { asked: [], logged: [], changed: [] };
const client = new Client(
  { name: "typescript", version: "1" },
  {
    capabilities: { elicitation: { form: {}, url: {} }, sampling: {}, roots: {} },
    versionNegotiation: { mode },
    listChanged: { tools: { onChanged: () => heard.changed.push("tools"), autoRefresh: false } },
  },
);
client.setRequestHandler("elicitation/create", async ({ params }) => {
  heard.asked.push(params.message);
  return { action: "accept", content: params.requestedSchema ? { username: "tea", email: "t@example.com" } : undefined };
});
client.setRequestHandler("sampling/createMessage", async () => {
  heard.asked.push("sampling");
  return { role: "assistant", model: "m", content: { type: "text", text: "Paris" } };
});
client.setRequestHandler("roots/list", async () => {
  heard.asked.push("roots");
  return { roots: [{ uri: "file:///tea" }] };
});
client.setNotificationHandler("notifications/message", ({ params }) => heard.logged.push(params.data));

async function cell(work) {
  for (const list of Object.values(heard)) list.length = 0;
  try {
    return await work();
  } catch (error) {
    return { error: String(error), code: error.code };
  }
}

const said = (result) => ({ text: result.content?.[0]?.text, isError: result.isError ?? false });

async function cancelled(server) {
  const count = async () => Number(said(await client.callTool({ name: `${server}__cancellations`, arguments: {} })).text);
  const before = await count();
  const stop = new AbortController();
  const call = client.callTool(
    { name: `${server}__hang`, arguments: {} },
    { signal: stop.signal, onprogress: () => stop.abort() },
  );
  await call.catch(() => {});
  while ((await count()) === before);
  return { cancelled: true };
}

async function changed(server) {
  await client.callTool({ name: `${server}__test_trigger_tool_change`, arguments: {} });
  const end = Date.now() + 10_000;
  while (!heard.changed.length && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  const result = { changed: heard.changed.length > 0 };
  await client.callTool({ name: `${server}__test_trigger_tool_change`, arguments: {} });
  return result;
}

async function use(server) {
  const call = (name, args = {}, options = {}) =>
    client.callTool({ name: `${server}__${name}`, arguments: args }, options);
  const found = {};
  found.list = await cell(async () => (await client.listTools()).tools.some((tool) => tool.name.startsWith(`${server}__`)));
  if (server === "ts") {
    found.call = await cell(async () => said(await call("echo", { message: "tea" })));
    found.structured = await cell(async () => (await call("get-structured-content", { location: "Chicago" })).structuredContent);
    found.prompt = await cell(async () =>
      (await client.getPrompt({ name: "ts__args-prompt", arguments: { city: "Brno" } })).messages.length);
    found.read = await cell(async () =>
      (await client.readResource({ uri: "demo://resource/dynamic/text/7" })).contents[0].uri);
    const steps = [];
    found.progress = await cell(async () => {
      await call("trigger-long-running-operation", { duration: 0.2, steps: 2 }, { onprogress: ({ progress }) => steps.push(progress) });
      return steps;
    });
    return found;
  }
  found.call = await cell(async () => said(await call("test_simple_text")));
  found.failed = await cell(async () => said(await call("test_error_handling")));
  found.refused = await cell(async () => said(await call("test_elicitation")));
  found.read = await cell(async () => {
    const { resources } = await client.listResources();
    const { uri } = resources.find(({ uri }) => uri.endsWith("test://static-text"));
    return (await client.readResource({ uri })).contents[0].text;
  });
  found.prompt = await cell(async () =>
    (await client.getPrompt({ name: `${server}__test_prompt_with_arguments`, arguments: { arg1: "a", arg2: "b" } }))
      .messages[0].content.text);
  found.completion = await cell(async () =>
    (await client.complete({
      ref: { type: "ref/prompt", name: `${server}__test_prompt_with_arguments` },
      argument: { name: "arg1", value: "par" },
    })).completion.values);
  found.progress = await cell(async () => {
    const steps = [];
    await call("test_tool_with_progress", {}, { onprogress: ({ progress }) => steps.push(progress) });
    return steps;
  });
  if (mode === "legacy") {
    found.logging = await cell(async () => {
      await client.setLoggingLevel("info");
      await call("test_logging_tool");
      return heard.logged.length;
    });
  }
  found.elicitation = await cell(async () => ({ ...said(await call("test_elicitation", { message: "Who?" })), asked: [...heard.asked] }));
  found.url = await cell(async () => said(await call("ask_url")));
  found.sampling = await cell(async () => said(await call("test_input_required_result_sampling")));
  found.roots = await cell(async () => said(await call("test_input_required_result_list_roots")));
  found.cancelled = await cell(() => cancelled(server));
  // A legacy server in a process of this agent's own changes there only; the hub lists what the shared one has.
  if (!server.endsWith("pipe")) found.changed = await cell(() => changed(server));
  return found;
}

await client.connect(
  new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { authorization: `Bearer ${token}` } } }),
);
const all = { version: client.getNegotiatedProtocolVersion?.(), servers: {} };
for (const server of servers) all.servers[server] = await use(server);
console.log(JSON.stringify(all));
await client.close();

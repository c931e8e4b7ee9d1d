// An MCP server on the TypeScript SDK v2 that offers everything the conformance suite asks of a
// server at revision 2025-11-25 (its scenarios say what):
//
//   PORT=n node everything.mjs      http://127.0.0.1:n/mcp
//
// Streamable HTTP with sessions, and with a store of events, so that its streams begin with an
// event id, can be closed in the middle of a call, and are taken up again.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  localhostHostValidation, localhostOriginValidation, NodeStreamableHTTPServerTransport,
} from '@modelcontextprotocol/node';
import { ProtocolError, ProtocolErrorCode, Server } from '@modelcontextprotocol/server';

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==';
const WAV = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=';

const text = (s) => ({ type: 'text', text: s });
const image = { type: 'image', data: PNG, mimeType: 'image/png' };
const resource = (uri, mimeType, s) => ({ type: 'resource', resource: { uri, mimeType, text: s } });
const says = (...content) => ({ content });
const object = (properties = {}, required = Object.keys(properties)) => ({ type: 'object', properties, required });
const string = (more = {}) => ({ type: 'string', ...more });

// ask puts a form to the user, and tells what came of it.
const ask = async (ctx, message, requestedSchema) => {
  const { action, content } = await ctx.mcpReq.elicitInput({ mode: 'form', message, requestedSchema });
  return says(text(`Elicitation completed: action=${action}, content=${JSON.stringify(content ?? {})}`));
};

const titled = (prefix, ...titles) => titles.map((title, i) => ({ const: `${prefix}${i + 1}`, title }));
const plain = ['option1', 'option2', 'option3'];

// Each tool: what it says of itself, what it takes, what it does.
const tools = {
  test_simple_text: ['Returns text', object(), () => says(text('This is a simple text response for testing.'))],
  test_image_content: ['Returns an image', object(), () => says(image)],
  test_audio_content: ['Returns sound', object(), () => says({ type: 'audio', data: WAV, mimeType: 'audio/wav' })],
  test_embedded_resource: ['Returns a resource', object(), () =>
    says(resource('test://embedded-resource', 'text/plain', 'This is an embedded resource content.'))],
  test_multiple_content_types: ['Returns text, an image and a resource', object(), () =>
    says(text('Multiple content types test:'), image,
      resource('test://mixed-content-resource', 'application/json', JSON.stringify({ test: 'data', value: 123 })))],
  test_error_handling: ['Fails', object(), () =>
    ({ ...says(text('This tool intentionally returns an error for testing')), isError: true })],
  test_tool_with_logging: ['Logs while it works', object(), async (_, ctx) => {
    for (const [i, line] of ['Tool execution started', 'Tool processing data', 'Tool execution completed'].entries()) {
      if (i > 0) await sleep(50);
      await ctx.mcpReq.log('info', line);
    }
    return says(text('Logged three lines.'));
  }],
  test_tool_with_progress: ['Reports progress', object(), async (_, ctx) => {
    const progressToken = ctx.mcpReq._meta?.progressToken;
    for (const progress of [0, 50, 100]) {
      if (progress > 0) await sleep(50);
      if (progressToken === undefined) continue;
      await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total: 100 } });
    }
    return says(text('Reached 100 of 100.'));
  }],
  test_sampling: ['Asks the client for a completion', object({ prompt: string() }), async ({ prompt }, ctx) => {
    const answer = await ctx.mcpReq.requestSampling({
      messages: [{ role: 'user', content: text(prompt) }], maxTokens: 100,
    });
    return says(text(`LLM response: ${answer.content.text ?? JSON.stringify(answer.content)}`));
  }],
  test_elicitation: ['Asks the user', object({ message: string() }), ({ message }, ctx) =>
    ask(ctx, message, object({
      username: string({ description: "User's response" }), email: string({ description: "User's email address" }),
    }))],
  test_elicitation_sep1034_defaults: ['Asks the user, with defaults of every primitive type', object(), (_, ctx) =>
    ask(ctx, 'Please look through these.', object({
      name: string({ default: 'John Doe' }),
      age: { type: 'integer', default: 30 },
      score: { type: 'number', default: 95.5 },
      status: string({ enum: ['active', 'inactive', 'pending'], default: 'active' }),
      verified: { type: 'boolean', default: true },
    }, []))],
  test_elicitation_sep1330_enums: ['Asks the user, with every kind of choice', object(), (_, ctx) =>
    ask(ctx, 'Please choose.', object({
      untitledSingle: string({ enum: plain }),
      titledSingle: string({ oneOf: titled('value', 'First Option', 'Second Option', 'Third Option') }),
      legacyEnum: string({ enum: ['opt1', 'opt2', 'opt3'], enumNames: ['Option One', 'Option Two', 'Option Three'] }),
      untitledMulti: { type: 'array', items: string({ enum: plain }) },
      titledMulti: { type: 'array', items: { anyOf: titled('value', 'First Choice', 'Second Choice', 'Third Choice') } },
    }, []))],
  test_reconnection: ['Closes its stream in the middle of the call', object(), async (_, ctx) => {
    ctx.http?.closeSSE?.();
    await sleep(100);
    return says(text('The answer came on another connection.'));
  }],
  json_schema_2020_12_tool: ['Has a schema with the words of JSON Schema 2020-12', {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    $defs: {
      address: { $anchor: 'addressDef', type: 'object', properties: { street: string(), city: string() } },
    },
    properties: {
      name: string(), address: { $ref: '#/$defs/address' },
      contactMethod: string({ enum: ['phone', 'email'] }), phone: string(), email: string(),
    },
    allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
    if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
    then: { required: ['phone'] },
    else: { required: ['email'] },
    additionalProperties: false,
  }, (args) => says(text(JSON.stringify(args)))],
};

const resources = {
  'test://static-text': ['text/plain', { text: 'This is the content of the static text resource.' }],
  'test://static-binary': ['image/png', { blob: PNG }],
  'test://watched-resource': ['text/plain', { text: 'Watch me.' }],
};
const template = /^test:\/\/template\/([^/]+)\/data$/;

const user = (content) => ({ role: 'user', content });
const argument = (name) => ({ name, description: `The ${name} of the test`, required: true });

// Each prompt: what it says of itself, its arguments, its messages.
const prompts = {
  test_simple_prompt: ['A line of text', [], () => [user(text('This is a simple prompt for testing.'))]],
  test_prompt_with_arguments: ['A line with two arguments', ['arg1', 'arg2'], ({ arg1, arg2 }) =>
    [user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))]],
  test_prompt_with_embedded_resource: ['A resource and a line', ['resourceUri'], ({ resourceUri }) =>
    [user(resource(resourceUri, 'text/plain', 'Embedded resource content for testing.')),
      user(text('Please process the embedded resource above.'))]],
  test_prompt_with_image: ['An image and a line', [], () => [user(image), user(text('Please analyze the image above.'))]],
};

// known is table[name], or the error that says that there is no such thing.
const known = (table, what, name) => {
  if (Object.hasOwn(table, name)) return table[name];
  throw new ProtocolError(ProtocolErrorCode.InvalidParams, `Unknown ${what}: ${name}`);
};

function read(uri) {
  const id = template.exec(uri)?.[1];
  if (id !== undefined) {
    return { mimeType: 'application/json', text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) };
  }
  const [mimeType, content] = known(resources, 'resource', uri);
  return { mimeType, ...content };
}

function newServer() {
  const s = new Server({ name: 'everything', version: '1' }, {
    capabilities: { tools: {}, prompts: {}, resources: { subscribe: true }, logging: {}, completions: {} },
  });
  const each = (table, as) => Object.entries(table).map(([name, of]) => as(name, of));
  s.setRequestHandler('tools/list', () => ({
    tools: each(tools, (name, [description, inputSchema]) => ({ name, description, inputSchema })),
  }));
  s.setRequestHandler('tools/call', ({ params }, ctx) => known(tools, 'tool', params.name)[2](params.arguments ?? {}, ctx));
  s.setRequestHandler('resources/list', () => ({
    resources: each(resources, (uri, [mimeType]) => ({ uri, name: uri.slice('test://'.length), mimeType })),
  }));
  s.setRequestHandler('resources/templates/list', () => ({
    resourceTemplates: [{ uriTemplate: 'test://template/{id}/data', name: 'template', mimeType: 'application/json' }],
  }));
  s.setRequestHandler('resources/read', ({ params: { uri } }) => ({ contents: [{ uri, ...read(uri) }] }));
  s.setRequestHandler('resources/subscribe', () => ({}));
  s.setRequestHandler('resources/unsubscribe', () => ({}));
  s.setRequestHandler('prompts/list', () => ({
    prompts: each(prompts, (name, [description, args]) => ({ name, description, arguments: args.map(argument) })),
  }));
  s.setRequestHandler('prompts/get', ({ params }) => ({ messages: known(prompts, 'prompt', params.name)[2](params.arguments ?? {}) }));
  s.setRequestHandler('completion/complete', () => ({ completion: { values: [], total: 0, hasMore: false } }));
  return s;
}

// EventStore keeps the events of one session.
class EventStore {
  events = [];
  async storeEvent(stream, message) {
    return String(this.events.push({ stream, message }) - 1);
  }
  async getStreamIdForEventId(id) {
    return this.events[id]?.stream;
  }
  async replayEventsAfter(id, { send }) {
    const { stream } = this.events[id];
    for (const [i, e] of this.events.entries()) {
      if (i > id && e.stream === stream && e.message.jsonrpc) await send(String(i), e.message);
    }
    return stream;
  }
}

const sessions = new Map();
const guards = [localhostHostValidation(), localhostOriginValidation()];

const http = createServer(async (req, res) => {
  if (!guards.every((allows) => allows(req, res))) return;
  const id = req.headers['mcp-session-id'];
  let transport = sessions.get(id);
  if (id !== undefined && !transport) {
    res.writeHead(404, { 'content-type': 'application/json' })
      .end('{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}');
    return;
  }
  if (!transport) {
    transport = new NodeStreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID, eventStore: new EventStore(), retryInterval: 100,
      onsessioninitialized: (made) => void sessions.set(made, transport),
      onsessionclosed: (closed) => void sessions.delete(closed),
    });
    await newServer().connect(transport);
  }
  await transport.handleRequest(req, res);
});
http.listen(Number(process.env.PORT), '127.0.0.1', () => console.log(`listening on ${http.address().port}`));

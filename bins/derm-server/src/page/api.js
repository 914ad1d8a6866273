"use strict";

// Shows /openapi.json: each operation with its parameters, bodies, answers and examples.
let api = null;

function add(parent, name, text) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

// The value, or the component that it refers to.
function resolved(value) {
  if (!value.$ref) return value;
  return value.$ref.slice(2).split("/").reduce((at, name) => at[name], api);
}

function values(schema) {
  const { enum: listed, type, minimum, maximum } = resolved(schema);
  if (listed) return listed.join(", ");
  return minimum === undefined ? type : `${type}, ${minimum} to ${maximum ?? "…"}`;
}

function table(parent, heads, rows) {
  if (rows.length === 0) return;
  const element = add(parent, "table");
  const head = add(add(element, "thead"), "tr");
  for (const text of heads) add(head, "th", text);
  const body = add(element, "tbody");
  for (const row of rows) {
    const line = add(body, "tr");
    for (const text of row) add(line, "td", text ?? "");
  }
}

function examples(parent, content) {
  for (const [kind, body] of Object.entries(content ?? {})) {
    const several = Object.entries(body.examples ?? {}).map(([name, one]) => [name, one.value]);
    if (body.example !== undefined) several.push(["", body.example]);
    if (several.length === 0) add(parent, "p", kind);
    for (const [name, value] of several) {
      const details = add(parent, "details");
      add(details, "summary", name ? `${kind}: ${name}` : kind);
      add(details, "pre", typeof value === "string" ? value : JSON.stringify(value, null, 2));
    }
  }
}

function show(path, method, operation) {
  const section = add(document.getElementById("operations"), "section");
  section.id = operation.operationId;
  add(section, "h2", `${method.toUpperCase()} ${path}`);
  const text = [operation.summary, operation.description].filter(Boolean).join(" ");
  add(section, "p", text);
  const parameters = (operation.parameters ?? []).map(resolved);
  const row = ({ name, schema, description }) =>
    [name, values(schema), resolved(schema).default, description];
  table(section, ["parameter", "values", "default", ""], parameters.map(row));
  if (operation.requestBody) {
    add(section, "h3", "Body");
    const { description, content } = resolved(operation.requestBody);
    if (description) add(section, "p", description);
    examples(section, content);
  }
  for (const [status, answer] of Object.entries(operation.responses)) {
    const { description, content } = resolved(answer);
    add(section, "h3", `${status}: ${description}`);
    examples(section, content);
  }
}

async function load() {
  const answer = await fetch("/openapi.json");
  api = await answer.json();
  document.getElementById("description").textContent = api.info.description;
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) show(path, method, operation);
  }
  document.body.dataset.shown = "true";
}

load();

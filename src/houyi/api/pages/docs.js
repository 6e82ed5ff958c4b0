// Shows /openapi.json for people. Texts are set as text, never as markup.
"use strict";

function make(tag, text, ...children) {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

function typeOf(schema, document) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map((one) => typeOf(one, document)).join(" | ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema.type === "array") return typeOf(schema.items, document) + "[]";
  return schema.type || "any";
}

function table(rows) {
  const body = make("table");
  for (const [name, type, text] of rows) body.append(make("tr", "", make("td", "", make("code", name)), make("td", "", make("code", type)), make("td", text)));
  return body;
}

function fields(schema, document) {
  const named = schema.$ref ? document.components.schemas[schema.$ref.split("/").pop()] : schema;
  return Object.entries(named.properties || {}).map(([name, one]) => [
    name + ((named.required || []).includes(name) ? " *" : ""), typeOf(one, document), one.description || ""]);
}

function jsonOf(content) {
  const known = content && (content["application/json"] || content["application/problem+json"]);
  return known && known.schema;
}

function operation(path, method, one, document) {
  const node = make("details", "", make("summary", "", make("b", method.toUpperCase()), make("code", path), make("span", "  " + (one.summary || ""))));
  node.dataset.path = (method + " " + path + " " + (one.description || "")).toLowerCase();
  node.addEventListener("toggle", () => {
    if (node.dataset.filled) return;
    node.dataset.filled = "yes";
    if (one.description) node.append(make("p", one.description));
    if (one.parameters) node.append(make("h4", "Parameters"), table(one.parameters.map((p) => [p.name + (p.required ? " *" : ""), p.in + " " + typeOf(p.schema, document), p.description || ""])));
    let body = one.requestBody && jsonOf(one.requestBody.content);
    if (body && body.anyOf) body = body.anyOf.find((part) => part.$ref);
    if (body) node.append(make("h4", "Body"), table(fields(body, document)));
    for (const [status, answer] of Object.entries(one.responses)) {
      const schema = jsonOf(answer.content);
      node.append(make("h4", status + "  " + (answer.description || "")));
      if (schema) node.append(table(fields(schema, document)));
    }
  });
  return node;
}

async function main() {
  const document_ = await (await fetch("/openapi.json")).json();
  const list = document.getElementById("paths");
  list.replaceChildren(make("p", document_.info.description));
  for (const [path, item] of Object.entries(document_.paths)) {
    for (const [method, one] of Object.entries(item)) list.append(operation(path, method, one, document_));
  }
  document.getElementById("search").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const node of list.querySelectorAll("details")) node.hidden = !node.dataset.path.includes(wanted);
  });
}

main();

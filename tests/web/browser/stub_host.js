/** A stand-in for ComfyUI's server: its real page, our files, nodes and settings; nothing is computed. */

import { execFileSync } from "node:child_process";
import { createReadStream, existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const PACK = "/extensions/hunyuan_av/";

/** @type {Record<string, string>} */
const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".webp": "image/webp",
  ".woff2": "font/woff2",
  ".md": "text/markdown",
  ".wav": "audio/wav",
  ".mp4": "video/mp4",
};

/**
 * @param {string} page the folder of the frontend package's static files
 * @param {string} python one that can import the pack
 * @param {string} saved the folder of the files that /view shows
 */
export async function startStubHost(page, python, saved) {
  const answers = fixedAnswers(python);
  /** @type {Record<string, unknown>} */
  const settings = {};

  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://stub");
    const path = decodeURIComponent(url.pathname.replace(/^\/api(?=\/)/, ""));
    if (path === "/settings" && request.method === "POST") {
      return body(request).then((wanted) => json(response, Object.assign(settings, wanted)));
    }
    if (path === "/settings") return json(response, settings);
    if (request.method === "POST") return request.resume().on("end", () => json(response, {}));
    if (path in answers) return json(response, answers[path]);
    if (path === "/view") return file(response, saved, url.searchParams.get("filename") ?? "");
    if (path.startsWith(PACK)) return file(response, join(ROOT, "web"), path.slice(PACK.length));
    return file(response, page, path === "/" ? "index.html" : path);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${address.port}`,
    stop: () => void server.close(),
  };
}

/**
 * @param {string} python
 * @returns {Record<string, unknown>}
 */
function fixedAnswers(python) {
  const info = execFileSync(python, [join(ROOT, "tests/web/object_info.py")], { encoding: "utf8" });
  const scripts = readdirSync(join(ROOT, "web/js")).filter((name) => name.endsWith(".js"));
  return {
    "/object_info": JSON.parse(info),
    "/extensions": scripts.map((name) => `${PACK}js/${name}`),
    "/i18n": locales(),
    "/system_stats": { system: { comfyui_version: "stub", argv: [], os: "linux" }, devices: [] },
    "/users": { storage: "server", migrated: true },
    "/features": {},
    "/queue": { queue_running: [], queue_pending: [] },
    "/history": {},
    "/jobs": { jobs: [], pagination: { offset: 0, limit: 200, total: 0, has_more: false } },
    "/embeddings": [],
    "/userdata": [],
    "/v2/userdata": [],
    "/experiment/models": [],
    "/workflow_templates": {},
    "/templates/index.json": [],
    "/global_subgraphs": {},
    "/internal/folder_paths": {},
    "/internal/logs/raw": { entries: [], size: { cols: 80, rows: 24 } },
    "/prompt": { exec_info: { queue_remaining: 0 } },
    "/node_replacements": {},
  };
}

/** The files of locales/, merged as ComfyUI merges them. */
function locales() {
  const folder = join(ROOT, "locales");
  return Object.fromEntries(
    readdirSync(folder).map((language) => {
      /** @type {(name: string) => any} */
      const read = (name) => {
        const path = join(folder, language, `${name}.json`);
        return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : {};
      };
      return [language, { ...read("main"), nodeDefs: read("nodeDefs") }];
    }),
  );
}

/** @param {import("node:http").IncomingMessage} request */
async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString());
}

/**
 * @param {import("node:http").ServerResponse} response
 * @param {unknown} value
 */
function json(response, value) {
  response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(value));
}

/**
 * @param {import("node:http").ServerResponse} response
 * @param {string} folder
 * @param {string} name
 */
function file(response, folder, name) {
  const path = normalize(join(folder, name));
  const inside = !relative(folder, path).startsWith(`..${sep}`);
  if (!inside || !existsSync(path) || !statSync(path).isFile()) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": TYPES[extname(path)] ?? "application/octet-stream" });
  return createReadStream(path).pipe(response);
}

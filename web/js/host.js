/**
 * The one door to ComfyUI's page: its app and api with their types, and panels on our own nodes.
 *
 * A panel is a DOM widget, so it shows on the classic canvas and on Vue nodes alike, and it only shows:
 * whatever Python needs is in ordinary widgets, and a graph runs the same where this file is never loaded.
 */

// @ts-expect-error ComfyUI serves this module; its types are given below.
import { api as hostApi } from "../../../scripts/api.js";
// @ts-expect-error As above.
import { app as hostApp } from "../../../scripts/app.js";

/** @typedef {import("@comfyorg/comfyui-frontend-types").ComfyApp} ComfyApp */
/** @typedef {import("@comfyorg/comfyui-frontend-types").ComfyApi} ComfyApi */
/** @typedef {import("@comfyorg/comfyui-frontend-types").ComfyExtension} ComfyExtension */
/** @typedef {Parameters<NonNullable<ComfyExtension["nodeCreated"]>>[0]} LGraphNode */
/** @typedef {NonNullable<LGraphNode["widgets"]>[number]} Widget */
/** @typedef {{filename: string, subfolder: string, type: string}} SavedFile A file that the server shows. */
/** @typedef {Record<string, unknown[] | undefined>} NodeOutput What a node returned for the page, by key. */

/**
 * What a panel is made of.
 * @template Payload
 * @typedef {object} Panel
 * @property {HTMLElement} element what the node shows
 * @property {(payload: Payload) => void} show called with what the node returned
 * @property {() => void} redraw called when the colours of the page have changed
 * @property {() => void} remove called when the node goes
 */

/**
 * @template Payload
 * @typedef {object} PanelKind
 * @property {string} nodeId the node that gets the panel
 * @property {string} key where in the node's output the payload is
 * @property {[number, number]} size the least width and height of the panel, in CSS pixels
 * @property {(node: LGraphNode) => Panel<Payload>} create
 */

const app = /** @type {ComfyApp} */ (hostApp);
const api = /** @type {ComfyApi} */ (hostApi);

/** The language of the page, such as "en" or "zh". */
export function language() {
  return String(app.extensionManager.setting.get("Comfy.Locale") ?? "en");
}

/**
 * Where the browser finds a file that a node has saved.
 * @param {SavedFile} file
 */
export function fileUrl({ filename, subfolder, type }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/**
 * Gives every node of one kind a panel that shows what the node returned.
 * @template Payload
 * @param {string} name the extension's, unique among all packs
 * @param {PanelKind<Payload>} kind
 */
export function registerPanel(name, kind) {
  /** @type {Map<LGraphNode, Panel<Payload>>} */
  const panels = new Map();

  app.registerExtension({
    name,
    nodeCreated(node) {
      if (node.comfyClass !== kind.nodeId) return;
      const panel = kind.create(node);
      panels.set(node, panel);
      attach(node, panel, kind);
      chain(node, "onExecuted", (output) => showOutput(panel, output, kind.key));
      chain(node, "onRemoved", () => {
        panels.delete(node);
        panel.remove();
      });
    },
    setup() {
      const settings = /** @type {EventTarget} */ (/** @type {unknown} */ (app.ui.settings));
      settings.addEventListener("Comfy.ColorPalette.change", () =>
        requestAnimationFrame(() => panels.forEach((panel) => panel.redraw())),
      );
    },
    /** Outputs of an earlier run come back, as when another workflow's tab is opened and closed. */
    onNodeOutputsUpdated(/** @type {Record<string, NodeOutput>} */ outputs) {
      for (const [node, panel] of panels) showOutput(panel, outputs[locator(node)], kind.key);
    },
  });
}

/**
 * @template Payload
 * @param {LGraphNode} node
 * @param {Panel<Payload>} panel
 * @param {PanelKind<Payload>} kind
 */
function attach(node, panel, { key, size: [width, height] }) {
  panel.element.style.minHeight = `${height}px`;
  const owner = /** @type {any} */ (node); // addDOMWidget is not in the published types
  const widget = owner.addDOMWidget(key, key, panel.element, {
    serialize: false,
    getMinHeight: () => height,
  });
  widget.serialize = false; // neither in the prompt nor in the workflow file: it holds no value
  const [, fitting] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], fitting)]);
}

/**
 * @template Payload
 * @param {Panel<Payload>} panel
 * @param {NodeOutput | undefined} output
 * @param {string} key
 */
function showOutput(panel, output, key) {
  const payload = output?.[key]?.[0];
  if (payload !== undefined) panel.show(/** @type {Payload} */ (payload));
}

/**
 * The key of a node among all outputs: within a subgraph, ids begin anew.
 * @param {LGraphNode} node
 */
function locator(node) {
  const graph = node.graph;
  return graph && graph !== app.rootGraph ? `${graph.id}:${node.id}` : String(node.id);
}

/**
 * Lets a callback of this one node do more than it does.
 * @param {LGraphNode} node
 * @param {"onExecuted" | "onRemoved"} event
 * @param {(...values: any[]) => void} more
 */
function chain(node, event, more) {
  const callbacks = /** @type {Record<string, ((...values: any[]) => void) | undefined>} */ (
    /** @type {unknown} */ (node)
  );
  const earlier = callbacks[event];
  callbacks[event] = function (...values) {
    earlier?.apply(this, values);
    more(...values);
  };
}

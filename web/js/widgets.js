/** Reading and writing the ordinary widgets of a node. */

/** @typedef {import("./host.js").LGraphNode} LGraphNode */

/**
 * The values of some widgets; one that is not there is left out.
 * @param {LGraphNode} node
 * @param {readonly string[]} names
 * @returns {Record<string, any>}
 */
export function values(node, names) {
  const found = (node.widgets ?? []).filter((widget) => names.includes(widget.name));
  return Object.fromEntries(found.map((widget) => [widget.name, widget.value]));
}

/**
 * Sets widgets as a user would: whoever listens to them is told.
 * @param {LGraphNode} node
 * @param {Record<string, any>} wanted
 */
export function setValues(node, wanted) {
  for (const widget of node.widgets ?? []) {
    const value = wanted[widget.name];
    if (value === undefined || widget.value === value) continue;
    widget.value = value;
    widget.callback?.(value);
  }
  node.graph?.setDirtyCanvas(true, false);
}

/**
 * Calls `changed` whenever one of some widgets gets another value by hand.
 * @param {LGraphNode} node
 * @param {readonly string[]} names
 * @param {() => void} changed
 */
export function listen(node, names, changed) {
  for (const widget of node.widgets ?? []) {
    if (!names.includes(widget.name)) continue;
    const earlier = widget.callback;
    widget.callback = function (...given) {
      earlier?.apply(this, given);
      changed();
    };
  }
}

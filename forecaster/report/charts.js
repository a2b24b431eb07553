"use strict";
// What every page with charts does: draws the figures of Bokeh that it holds, and has them follow the
// reader's scheme, the keys under the charts, paper and fingers.

const at = (id) => document.getElementById(id);
const held = (id) => JSON.parse(at(id).textContent);

/** Draws figures in their places; returns their views, and a function from a name to its model. */
async function draw({ roots, doc }) {
  const places = Object.fromEntries(Object.entries(roots).map(([name, root]) => [root, `chart-${name}`]));
  Bokeh.set_log_level("error");  // figures that wait for their data warn of it
  const [views] = await Bokeh.embed.embed_items(
    { figures: doc }, [{ docid: "figures", roots: places, root_ids: Object.keys(places) }]);
  const figures = Object.keys(places).map((root) => views.get_by_id(root));
  return { figures, model: (name) => figures[0].model.document.get_model_by_name(name) };
}

/** Has figures that hold their data follow the scheme, the keys, paper and fingers. */
function follow(figures, model) {
  for (const box of document.querySelectorAll("[data-glyphs]")) {
    box.addEventListener("change", () => {
      for (const name of box.dataset.glyphs.split(" ")) model(name).visible = box.checked;
    });
  }

  function paint() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    for (const view of figures) {
      for (const renderer of view.model.renderers.filter(({ glyph }) => glyph.tags.length)) {
        const [fill, line = fill] = renderer.glyph.tags.map(color);
        for (const [part, value] of [["line_color", line], ["fill_color", fill], ["text_color", fill]]) {
          if (part in renderer.glyph.properties) renderer.glyph[part] = { value };
        }
        // Bokeh would take the color up a moment later, which is too late for paper.
        const drawn = view.renderer_views.get(renderer);
        drawn.glyph.set_visuals(renderer.data_source, drawn.all_indices);
      }
      view.request_paint();
    }
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  paint();

  // On paper charts are light, and as wide as the paper: pictures of them take their places.
  window.addEventListener("beforeprint", () => {
    document.documentElement.classList.add("on-paper");
    paint();
    for (const view of figures.filter(({ el }) => el.offsetParent)) {
      const picture = view.export("png").canvas;
      picture.className = "printed";
      picture.setAttribute("role", "img");
      picture.setAttribute("aria-label", view.el.parentElement.getAttribute("aria-label"));
      view.el.parentElement.after(picture);
    }
  });
  window.addEventListener("afterprint", () => {
    document.documentElement.classList.remove("on-paper");
    for (const picture of document.querySelectorAll(".printed")) picture.remove();
    paint();
  });

  // A finger scrolls the page, pinches a chart, and by a tap points at what a mouse hovers over.
  if (matchMedia("(pointer: coarse)").matches) {
    for (const { model: figure } of figures) figure.toolbar.active_drag = null;
    document.addEventListener("pointerup", (event) => {
      if (event.pointerType !== "touch") return;
      const [target] = event.composedPath();
      const { clientX, clientY } = event;
      setTimeout(() => target.dispatchEvent(new PointerEvent("pointermove",
        { bubbles: true, composed: true, isPrimary: true, pointerType: "mouse", view: window, clientX, clientY })), 50);
    }, true);
  }
  if (matchMedia("(max-width: 40rem)").matches) {
    for (const { model: figure } of figures) figure.below[0].ticker.desired_num_ticks = 3;
  }
}

"use strict";
// The map of the embeddings: a canvas with panning, zooming, details and selection. It loads nothing from outside.
(() => {
  const find = (id) => document.getElementById(id);
  const data = JSON.parse(find("map-data").textContent);
  const canvas = find("map"), stage = canvas.parentElement, tip = find("map-tip"), status = find("map-status");
  const context = canvas.getContext("2d");
  const count = data.paths.length;
  const xs = Float64Array.from(data.places, ([x]) => x), ys = Float64Array.from(data.places, ([, y]) => y);
  const PAD = 24, DOT = 10, MOST_ZOOM = 4000, TABLE_ROWS = 100, MOST_SHOWN = 120;
  // the palette of Okabe and Ito, which colour-blind readers can tell apart; beyond eight kinds the shapes differ, too
  const COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "ink"];
  const SHAPES = ["disc", "triangle", "cross", "square", "diamond"];
  const NONE = "#8b949e";
  const FAINT = 0xff9e948b; // NONE as a pixel, whose bytes are red, green, blue, alpha
  const number = (colour) => 0xff000000 | (parseInt(colour.slice(5, 7), 16) << 16) | (parseInt(colour.slice(3, 5), 16) << 8) | parseInt(colour.slice(1, 3), 16);
  const SCALE = ["#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838"]; // cividis
  const SCALE_STEPS = 32;

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const paper = () => (dark.matches ? "#14171b" : "#ffffff");
  const ink = () => (dark.matches ? "#e6e9ed" : "#1b1f24");
  const sheet = new Image();
  sheet.src = getComputedStyle(document.querySelector(".t")).backgroundImage.replace(/^url\("?|"?\)$/g, "");

  const view = { x: 0.5, y: 0.5, zoom: 1 };
  const size = { width: 0, height: 0, ratio: 1 };
  const shown = new Uint8Array(count).fill(1); // passes the filters
  const selected = new Uint8Array(count);
  const kindOf = new Int32Array(count); // the glyph of each point
  const hidden = new Set(); // kinds that the legend hides
  let way = null, glyphs = [], ringed = [], least = -Infinity, words = "", hovered = -1, picked = -1, lasso = null, waiting = false;
  let frame = null, pixels = null; // the drawn image, and the same memory as an array of pixels

  // ---------- coordinates
  const scale = () => (Math.min(size.width, size.height) - 2 * PAD) * view.zoom;
  const toX = (x) => (x - view.x) * scale() + size.width / 2;
  const toY = (y) => (y - view.y) * scale() + size.height / 2;
  const inView = (i) => {
    const x = toX(xs[i]), y = toY(ys[i]);
    return x >= 0 && y >= 0 && x <= size.width && y <= size.height;
  };
  const tile = (i) => [(i % data.columns) * data.side, Math.floor(i / data.columns) * data.side, data.side, data.side];

  function nearestTo(x, y, reach) {
    let best = -1, least = reach * reach;
    for (let i = 0; i < count; i++) {
      if (!shown[i]) continue;
      const dx = toX(xs[i]) - x, dy = toY(ys[i]) - y, far = dx * dx + dy * dy;
      if (far < least) { least = far; best = i; }
    }
    return best;
  }

  // ---------- drawing
  function glyph(colour, shape, side, edge = paper()) {
    const made = document.createElement("canvas");
    made.width = made.height = side;
    const pen = made.getContext("2d"), m = side / 2, r = side / 2 - 1;
    pen.fillStyle = colour === "ink" ? ink() : colour;
    pen.strokeStyle = edge;
    pen.lineWidth = Math.max(1, side / (edge === paper() ? 12 : 6));
    pen.beginPath();
    if (shape === "disc") pen.arc(m, m, r * 0.9, 0, 7);
    else if (shape === "square") pen.rect(m - r * 0.78, m - r * 0.78, r * 1.56, r * 1.56);
    else if (shape === "triangle") { pen.moveTo(m, m - r); pen.lineTo(m + r, m + r * 0.8); pen.lineTo(m - r, m + r * 0.8); pen.closePath(); }
    else if (shape === "diamond") { pen.moveTo(m, m - r); pen.lineTo(m + r, m); pen.lineTo(m, m + r); pen.lineTo(m - r, m); pen.closePath(); }
    else { const a = r * 0.32; pen.rect(m - a, m - r, 2 * a, 2 * r); pen.rect(m - r, m - a, 2 * r, 2 * a); }
    pen.fill();
    if (shape !== "cross") pen.stroke();
    return made;
  }

  // Drawing ten thousand small pictures on a canvas takes three times as long as writing their pixels ourselves.
  function draw() {
    waiting = false;
    if (!frame) return;
    const { width, height, ratio } = size, factor = scale() * ratio;
    const wide = canvas.width, high = canvas.height;
    const left = (width / 2) * ratio - view.x * factor, top = (height / 2) * ratio - view.y * factor;
    const near = [];
    pixels.fill(number(paper()));
    for (let i = 0; i < count; i++) {
      const x = Math.round(xs[i] * factor + left), y = Math.round(ys[i] * factor + top);
      if (x < -20 || y < -20 || x > wide + 20 || y > high + 20) continue;
      if (shown[i]) near.push(i);
      else if (x > 0 && y > 0 && x < wide && y < high) pixels[y * wide + x] = pixels[y * wide + x - 1] = FAINT;
    }
    const pictures = near.length <= MOST_SHOWN && near.length * 3000 < width * height && sheet.complete;
    if (!pictures) for (const i of near) stamp((selected[i] ? ringed : glyphs)[kindOf[i]], Math.round(xs[i] * factor + left), Math.round(ys[i] * factor + top));
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.putImageData(frame, 0, 0);
    if (pictures) {
      const side = 44 * ratio;
      context.imageSmoothingEnabled = data.side > 32;
      for (const i of near) {
        const x = Math.round(xs[i] * factor + left - side / 2), y = Math.round(ys[i] * factor + top - side / 2);
        context.fillStyle = glyphs[kindOf[i]].colour;
        context.fillRect(x - 2 * ratio, y - 2 * ratio, side + 4 * ratio, side + 4 * ratio);
        context.drawImage(sheet, ...tile(i), x, y, side, side);
      }
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.strokeStyle = dark.matches ? "#ffffff" : "#000000";
    const ring = (i, wide) => {
      const r = (pictures ? 26 : DOT / 2 + 2) + wide;
      context.lineWidth = wide;
      context.strokeRect(toX(xs[i]) - r, toY(ys[i]) - r, 2 * r, 2 * r);
    };
    if (pictures) for (const i of near) if (selected[i]) ring(i, 1);
    for (const i of [hovered, picked]) if (i >= 0) ring(i, 2);
    if (lasso && lasso.length > 1) {
      context.beginPath();
      lasso.forEach(([x, y]) => context.lineTo(x, y));
      context.closePath();
      context.fillStyle = "#56b4e933";
      context.fill();
      context.lineWidth = 1.5;
      context.stroke();
    }
    if (document.activeElement === canvas && canvas.matches(":focus-visible")) { // a cross marks where Enter picks
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(width / 2 - 9, height / 2); context.lineTo(width / 2 + 9, height / 2);
      context.moveTo(width / 2, height / 2 - 9); context.lineTo(width / 2, height / 2 + 9);
      context.stroke();
    }
  }

  function stamp({ side, offsets, colours, alphas }, x, y) {
    const wide = canvas.width, start = (y - (side >> 1)) * wide + x - (side >> 1);
    if (x < side || y < side || x >= wide - side || y >= canvas.height - side) return;
    for (let n = 0; n < offsets.length; n++) {
      const at = start + offsets[n], alpha = alphas[n], colour = colours[n];
      if (alpha > 250) pixels[at] = colour;
      else { // red and blue in one operation, then green
        const under = pixels[at], rest = 256 - alpha;
        const ends = ((under & 0xff00ff) * rest + (colour & 0xff00ff) * alpha) >>> 8, middle = ((under & 0xff00) * rest + (colour & 0xff00) * alpha) >>> 8;
        pixels[at] = 0xff000000 | (ends & 0xff00ff) | (middle & 0xff00);
      }
    }
  }

  function stampOf(colour, shape, side, edge) { // a glyph as the pixels that it covers
    const { data: found } = glyph(colour, shape, side, edge).getContext("2d").getImageData(0, 0, side, side);
    const whole = new Uint32Array(found.buffer), covered = [...whole.keys()].filter((n) => found[4 * n + 3] > 8);
    return {
      side,
      colour: colour === "ink" ? ink() : colour,
      offsets: Int32Array.from(covered, (n) => Math.floor(n / side) * canvas.width + (n % side)),
      colours: Uint32Array.from(covered, (n) => whole[n] | 0xff000000),
      alphas: Uint8Array.from(covered, (n) => found[4 * n + 3]),
    };
  }

  function redraw() {
    if (!waiting) { waiting = true; requestAnimationFrame(draw); }
  }

  function measure() {
    Object.assign(size, { width: stage.clientWidth, height: stage.clientHeight, ratio: window.devicePixelRatio || 1 });
    if (!size.width || !size.height) return; // the map is not shown yet
    canvas.width = Math.round(size.width * size.ratio);
    canvas.height = Math.round(size.height * size.ratio);
    frame = context.createImageData(canvas.width, canvas.height);
    pixels = new Uint32Array(frame.data.buffer);
    paint();
  }

  // ---------- colours, the legend and the filters
  const mix = (share) => {
    const at = Math.min(Math.max(share, 0), 1) * (SCALE.length - 1), low = Math.min(Math.floor(at), SCALE.length - 2);
    const part = (colour, n) => parseInt(colour.slice(1 + 2 * n, 3 + 2 * n), 16);
    const one = (n) => Math.round(part(SCALE[low], n) + (at - low) * (part(SCALE[low + 1], n) - part(SCALE[low], n)));
    return `rgb(${one(0)}, ${one(1)}, ${one(2)})`;
  };
  const styleOf = (kind) => [COLOURS[kind % COLOURS.length], SHAPES[Math.floor(kind / COLOURS.length) % SHAPES.length]];

  function paint() { // one glyph for each kind, drawn once
    const side = Math.round((count > 4000 ? DOT - 3 : DOT) * size.ratio);
    const styles = way.names ? way.names.map((_, kind) => styleOf(kind)) : [...Array(SCALE_STEPS)].map((_, n) => [mix(n / (SCALE_STEPS - 1)), "disc"]);
    styles.push([NONE, "disc"]);
    const once = (draw, drawn = {}) => styles.map(([colour, shape]) => (drawn[colour + shape] ??= draw(colour, shape))); // many names share a style
    glyphs = once((colour, shape) => stampOf(colour, shape, side));
    ringed = once((colour, shape) => stampOf(colour, shape, side + 2, ink()));
    redraw();
  }

  function choose(number) {
    way = data.ways[number];
    hidden.clear();
    least = -Infinity;
    if (way.names) for (let i = 0; i < count; i++) kindOf[i] = way.of[i] < 0 ? way.names.length : way.of[i];
    else {
      const known = way.values.filter((value) => value !== null).sort((a, b) => a - b);
      way.low = known[0] ?? 0;
      way.high = known[known.length - 1] ?? 1;
      const top = known[Math.floor(0.99 * (known.length - 1))] ?? 1; // an outlier would leave all the others in one colour
      for (let i = 0; i < count; i++) {
        const share = (way.values[i] - way.low) / (top - way.low || 1);
        kindOf[i] = way.values[i] === null ? SCALE_STEPS : Math.min(Math.round(share * (SCALE_STEPS - 1)), SCALE_STEPS - 1);
      }
    }
    paint();
    legend();
    filter();
  }

  function make(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function legend() {
    const place = find("map-legend");
    place.replaceChildren();
    if (!way.names) return place.append(rule());
    const members = new Map();
    kindOf.forEach((kind) => members.set(kind, (members.get(kind) || 0) + 1));
    let keys = 0;
    [...way.names, "none"].forEach((name, kind) => {
      if (!members.has(kind)) return;
      if (keys === data.most_keys && kind < way.names.length) return;
      keys++;
      const sample = make("canvas", { width: 28, height: 28 });
      const style = kind < way.names.length ? styleOf(kind) : [NONE, "disc"];
      sample.getContext("2d").drawImage(glyph(...style, 28), 0, 0);
      const key = make("button", { type: "button", className: "key", title: name }, sample, make("span", { textContent: name }), String(members.get(kind)));
      key.setAttribute("aria-pressed", "true");
      key.addEventListener("click", () => {
        if (!hidden.delete(kind)) hidden.add(kind);
        key.setAttribute("aria-pressed", String(!hidden.has(kind)));
        filter();
      });
      place.append(key);
    });
    const named = members.size - members.has(way.names.length);
    if (named > data.most_keys) place.append(make("p", { textContent: `The first ${data.most_keys} of ${named}` }));
    const all = make("button", { type: "button", className: "key", textContent: "Hide all", id: "map-hide" });
    all.addEventListener("click", () => {
      const hide = hidden.size === 0;
      hidden.clear();
      if (hide) members.forEach((_, kind) => hidden.add(kind));
      place.querySelectorAll("[aria-pressed]").forEach((key) => key.setAttribute("aria-pressed", String(!hide)));
      filter();
    });
    place.append(all);
  }

  function rule() {
    const bar = make("canvas", { width: 200, height: 1 }), pen = bar.getContext("2d");
    for (let x = 0; x < 200; x++) { pen.fillStyle = mix(x / 199); pen.fillRect(x, 0, 1, 1); }
    const says = (value) => String(Number(value.toPrecision(3)));
    const slider = make("input", { type: "range", min: 0, max: 1000, value: 0, id: "map-least" });
    const said = make("span", { textContent: says(way.low) });
    slider.addEventListener("input", () => {
      least = slider.value === "0" ? -Infinity : way.low + (slider.value / 1000) * (way.high - way.low);
      said.textContent = says(Math.max(least, way.low));
      filter();
    });
    return make("div", { className: "scale" }, bar,
      make("p", { className: "ends" }, make("span", { textContent: says(way.low) }), make("span", { textContent: says(way.high) })),
      make("label", {}, "At least ", said, slider));
  }

  function filter() {
    const wanted = words.toLowerCase();
    let left = 0;
    for (let i = 0; i < count; i++) {
      const passes = !hidden.has(kindOf[i]) && (least === -Infinity || (way.values && way.values[i] !== null && way.values[i] >= least))
        && (!wanted || data.paths[i].toLowerCase().includes(wanted) || data.ways.some((one) => one.names && one.of[i] >= 0 && one.names[one.of[i]].toLowerCase() === wanted));
      shown[i] = passes ? 1 : 0;
      left += shown[i];
    }
    hover(-1);
    say(left === count ? "" : `${left} of ${count} images pass the filters.`);
    if (find("map-list").open) table();
    redraw();
  }

  // ---------- details
  const say = (text) => { status.textContent = text; };
  const facts = (i) => [...data.ways.map((one) => {
    const value = one.names ? (one.of[i] < 0 ? "none" : one.names[one.of[i]]) : one.values[i] === null ? "none" : Number(one.values[i].toPrecision(3));
    return [one.title, String(value)];
  }), ["Size", data.sizes[i]]];
  const describe = (i) => [data.paths[i], ...facts(i).map(([title, value]) => `${title}: ${value}`)].join("\n");

  function thumb(i, tag = "button") {
    const made = make(tag, { className: "t", title: data.paths[i] });
    made.style.setProperty("--x", i % data.columns);
    made.style.setProperty("--y", Math.floor(i / data.columns));
    if (tag === "button") {
      Object.assign(made, { type: "button" });
      made.setAttribute("aria-label", describe(i).replaceAll("\n", ", "));
      made.addEventListener("click", () => pick(i, true));
    }
    return made;
  }

  function hover(i, x = 0, y = 0) {
    if (i !== hovered) redraw();
    hovered = i;
    tip.hidden = i < 0;
    if (i < 0) return;
    const pen = tip.querySelector("canvas").getContext("2d");
    pen.imageSmoothingEnabled = data.side > 32;
    if (sheet.complete) pen.drawImage(sheet, ...tile(i), 0, 0, 96, 96);
    tip.querySelector("p").textContent = describe(i);
    const beside = x + 16 + tip.offsetWidth > size.width ? x - 16 - tip.offsetWidth : x + 16;
    tip.style.transform = `translate(${Math.max(beside, 0)}px, ${Math.max(Math.min(y + 12, size.height - tip.offsetHeight), 0)}px)`;
  }

  function pick(i, go) {
    picked = i;
    find("map-picked").hidden = i < 0;
    if (i >= 0) {
      const big = find("map-picked-t");
      big.style.setProperty("--x", i % data.columns);
      big.style.setProperty("--y", Math.floor(i / data.columns));
      find("map-picked-text").textContent = describe(i);
      find("map-picked-near").replaceChildren(...data.nearest[i].map((j) => thumb(j)));
      say(`Picked ${describe(i).replaceAll("\n", ", ")}.`);
      if (go && !inView(i)) Object.assign(view, { x: xs[i], y: ys[i] });
    }
    redraw();
  }

  // ---------- selecting
  // a path with a line break is written as a JSON string, so that the list has one line per path
  const line = (path) => (/[\u0000-\u001f\u2028\u2029]/.test(path) ? JSON.stringify(path) : path);

  function select(test, add) {
    for (let i = 0; i < count; i++) selected[i] = (shown[i] && test(i)) || (add && selected[i]) ? 1 : 0;
    const chosen = [...selected.keys()].filter((i) => selected[i]);
    find("map-selection").hidden = chosen.length === 0;
    find("map-count").textContent = `${chosen.length} ${chosen.length === 1 ? "image" : "images"} selected`;
    find("map-paths").value = chosen.map((i) => line(data.paths[i])).join("\n");
    find("map-thumbs").replaceChildren(...chosen.slice(0, MOST_SHOWN).map((i) => thumb(i)));
    say(`${chosen.length} of ${count} images are selected.`);
    if (find("map-list").open) table();
    redraw();
  }

  function inside(x, y) {
    let odd = false;
    for (let a = 0, b = lasso.length - 1; a < lasso.length; b = a++) {
      const [ax, ay] = lasso[a], [bx, by] = lasso[b];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
    }
    return odd;
  }

  async function copy() {
    const list = find("map-paths");
    try {
      await navigator.clipboard.writeText(list.value);
    } catch {
      list.focus();
      list.select();
      if (!document.execCommand("copy")) // for browsers that deny the clipboard API to pages opened from a file
        return say("The browser denied access to the clipboard. The paths are selected in their field: copy them from there.");
    }
    say("Copied the paths to the clipboard.");
  }

  let rows = TABLE_ROWS;
  function table() {
    const chosen = [...selected.keys()].filter((i) => selected[i]);
    const listed = chosen.length ? chosen : [...shown.keys()].filter((i) => shown[i]);
    const place = find("map-list");
    place.querySelector("caption").textContent = `${chosen.length ? "Selected images" : "Images that pass the filters"}: ${Math.min(rows, listed.length)} of ${listed.length}`;
    const head = ["image", "path", ...facts(0).map(([title]) => title.toLowerCase())];
    place.querySelector("thead").replaceChildren(make("tr", {}, ...head.map((text) => make("th", { scope: "col", textContent: text }))));
    place.querySelector("tbody").replaceChildren(...listed.slice(0, rows).map((i) => make("tr", {},
      make("td", {}, thumb(i, "span")), make("td", { className: "path", textContent: data.paths[i] }), ...facts(i).map(([, value]) => make("td", { className: "path", textContent: value })))));
    find("map-more").hidden = rows >= listed.length;
  }

  // ---------- moving
  function zoom(factor, x = size.width / 2, y = size.height / 2) {
    const before = scale();
    view.zoom = Math.min(Math.max(view.zoom * factor, 0.5), MOST_ZOOM);
    const after = scale();
    view.x += (x - size.width / 2) * (1 / before - 1 / after);
    view.y += (y - size.height / 2) * (1 / before - 1 / after);
    hover(-1);
    redraw();
  }
  function pan(dx, dy) {
    const factor = scale();
    view.x = Math.min(Math.max(view.x - dx / factor, 0), 1);
    view.y = Math.min(Math.max(view.y - dy / factor, 0), 1);
    redraw();
  }
  function whole() {
    Object.assign(view, { x: 0.5, y: 0.5, zoom: 1 });
    redraw();
  }
  function middle() {
    let visible = 0;
    for (let i = 0; i < count; i++) if (shown[i] && inView(i)) visible++;
    const i = nearestTo(size.width / 2, size.height / 2, Infinity);
    say(`${visible} images in view` + (i < 0 ? "." : `; nearest to the centre: ${data.paths[i]}.`));
  }

  const touches = new Map();
  let moved = 0, last = null, spread = 0, adding = false;
  const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    touches.set(event.pointerId, at(event));
    moved = 0;
    last = at(event);
    spread = 0;
    adding = event.shiftKey && lassoing;
    lasso = touches.size === 1 && (lassoing || event.shiftKey) ? [at(event)] : null;
    canvas.classList.toggle("dragging", !lasso);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (!touches.has(event.pointerId)) {
      if (event.pointerType !== "touch") hover(nearestTo(x, y, 14), x, y);
      return;
    }
    touches.set(event.pointerId, [x, y]);
    if (touches.size === 2) {
      const [[ax, ay], [bx, by]] = [...touches.values()], far = Math.hypot(ax - bx, ay - by), mid = [(ax + bx) / 2, (ay + by) / 2];
      if (spread) { zoom(far / spread, ...mid); pan(mid[0] - last[0], mid[1] - last[1]); }
      [spread, last, moved, lasso] = [far, mid, 99, null];
      return;
    }
    moved += Math.hypot(x - last[0], y - last[1]);
    if (lasso) lasso.push([x, y]);
    else if (moved > 3) { hover(-1); pan(x - last[0], y - last[1]); }
    last = [x, y];
    redraw();
  });
  function lift(event) {
    if (!touches.delete(event.pointerId)) return;
    canvas.classList.remove("dragging");
    if (lasso && lasso.length > 2 && moved > 8) {
      select((i) => inside(toX(xs[i]), toY(ys[i])), adding);
    } else if (moved <= 3 && event.type === "pointerup") pick(nearestTo(...at(event), 22), false);
    lasso = null;
    last = touches.size ? [...touches.values()][0] : null;
    spread = 0;
    redraw();
  }
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => hover(-1));
  canvas.addEventListener("wheel", (event) => { // otherwise the wheel scrolls the page
    if (document.activeElement !== canvas && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...at(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      ArrowLeft: () => pan(60, 0), ArrowRight: () => pan(-60, 0), ArrowUp: () => pan(0, 60), ArrowDown: () => pan(0, -60),
      "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: whole,
    };
    if (keys[event.key]) { keys[event.key](); middle(); }
    else if (event.key === "Enter" || event.key === " ") pick(nearestTo(size.width / 2, size.height / 2, Infinity), false);
    else if (event.key === "Escape") { select(() => false, false); pick(-1, false); }
    else return;
    event.preventDefault();
  });
  canvas.addEventListener("focus", redraw);
  canvas.addEventListener("blur", redraw);

  // ---------- controls
  let lassoing = false;
  find("map-lasso").addEventListener("click", (event) => {
    lassoing = !lassoing;
    event.currentTarget.setAttribute("aria-pressed", String(lassoing));
    canvas.classList.toggle("lasso", lassoing);
  });
  find("map-in").addEventListener("click", () => { zoom(1.5); middle(); });
  find("map-out").addEventListener("click", () => { zoom(1 / 1.5); middle(); });
  find("map-reset").addEventListener("click", () => { whole(); middle(); });
  find("map-all").addEventListener("click", () => select(inView, false));
  find("map-clear").addEventListener("click", () => select(() => false, false));
  find("map-copy").addEventListener("click", copy);
  find("map-find").addEventListener("input", (event) => { words = event.target.value.trim(); filter(); });
  find("map-list").addEventListener("toggle", () => { rows = TABLE_ROWS; table(); });
  find("map-more").addEventListener("click", () => { rows += TABLE_ROWS; table(); });
  const ways = find("map-way");
  ways.append(...data.ways.map((one, number) => make("option", { value: number, textContent: one.title })));
  ways.addEventListener("change", () => choose(Number(ways.value)));
  dark.addEventListener("change", () => { paint(); legend(); });

  find("map-app").hidden = false;
  way = data.ways[0];
  measure();
  new ResizeObserver(measure).observe(stage);
  choose(0);
  sheet.decode().then(redraw, () => {});
})();

// Heat maps of one tensor by several hands, side by side: one slice selector, one cursor, one line that tells.

const DIVERGING = {
  light: [[166, 42, 16], [255, 253, 248], [11, 92, 107]],
  dark: [[255, 150, 120], [25, 32, 40], [105, 205, 220]],
};
const ROOM = {
  light: [[255, 253, 248], [205, 190, 140], [118, 79, 0]],
  dark: [[25, 32, 40], [96, 80, 38], [235, 196, 112]],
};
const OUTSIDE = { light: [166, 42, 16], dark: [255, 120, 90] };

function blend(stops, at) {
  const place = Math.max(0, Math.min(1, at)) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  return stops[low].map((v, i) => Math.round(v + (stops[low + 1][i] - v) * (place - low)));
}

// Black or white, whichever is read better: at this luminance (WCAG's) both have the same contrast, 4.58.
const EQUAL = Math.sqrt(1.05 * 0.05) - 0.05;

function isBright(rgb) {
  const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > EQUAL;
}

const css = (rgb) => `rgb(${rgb.join(",")})`;

class HeatMap {
  // kind: "value" (diverging around 0, `most` at the ends) or "ratio" (0 to 1, more is outside).
  constructor(group, { title, kind, values, most }) {
    Object.assign(this, { group, title, kind, values, most });
    this.canvas = el("canvas", { tabindex: "0", role: "img" });
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.group.leave());
    this.canvas.addEventListener("focus", () => this.group.move(0, 0, this));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    const names = typeof title === "string" ? [el("b", null, title)] : title;
    this.node = el("figure", null, el("figcaption", null, names), this.canvas, this.scale());
  }

  scale() {
    const theme = isDark() ? "dark" : "light";
    const stops = (this.kind === "ratio" ? ROOM : DIVERGING)[theme].map(css).join(",");
    const bar = el("i");
    bar.style.background = `linear-gradient(90deg,${stops})`;
    const [low, high] = this.kind === "ratio" ? ["0", "1"] : [show(-this.most, 3), show(this.most, 3)];
    const more = el("i");
    if (this.kind === "ratio") {
      more.style.cssText = `width:14px;background:${css(OUTSIDE[theme])}`;
      return el("div", { class: "scale", "aria-hidden": "true" }, low, bar, high, more, "outside");
    }
    return el("div", { class: "scale", "aria-hidden": "true" }, low, bar, high);
  }

  color(value, theme) {
    if (this.kind === "ratio") return value > 1 ? OUTSIDE[theme] : blend(ROOM[theme], value);
    return blend(DIVERGING[theme], Number.isFinite(value) ? 0.5 + value / (2 * this.most || 1) : value > 0 ? 1 : 0);
  }

  draw() {
    const { rows, columns, cell } = this.group;
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    this.canvas.width = Math.ceil(columns * cell * ratio);
    this.canvas.height = Math.ceil(rows * cell * ratio);
    this.canvas.style.width = `${columns * cell}px`;
    this.canvas.style.height = `${rows * cell}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const theme = isDark() ? "dark" : "light";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    let least = Infinity, most = -Infinity, worst = null;
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const value = this.values[this.group.at(r, c)];
        if (value < least) least = value;
        if (value > most || Number.isNaN(value)) { most = value; worst = [r, c]; }
        const rgb = Number.isNaN(value) ? (theme === "dark" ? [60, 60, 66] : [214, 212, 206]) : this.color(value, theme);
        pen.fillStyle = css(rgb);
        pen.fillRect(c * cell, r * cell, cell + 0.3, cell + 0.3);
        const bright = isBright(rgb);
        const outside = this.kind === "ratio" && value > 1;
        if (outside || Number.isNaN(value)) {
          pen.strokeStyle = bright ? "#000a" : "#fffc";
          pen.lineWidth = 1;
          if (cell >= 5 && cell < 38) {
            pen.beginPath();
            pen.moveTo(c * cell + 2, r * cell + 2);
            pen.lineTo((c + 1) * cell - 2, (r + 1) * cell - 2);
            pen.moveTo((c + 1) * cell - 2, r * cell + 2);
            pen.lineTo(c * cell + 2, (r + 1) * cell - 2);
            pen.stroke();
          }
        }
        if (cell >= 38) {
          pen.fillStyle = bright ? "#000" : "#fff";
          pen.font = "11px ui-monospace, monospace";
          pen.fillText(show(value, this.kind === "ratio" ? 2 : 4), (c + 0.5) * cell, (r + 0.5) * cell, cell - 4);
        }
      }
    }
    const cursor = this.group.cursor;
    if (cursor) {
      const [r, c] = cursor;
      pen.lineWidth = 2;
      pen.strokeStyle = theme === "dark" ? "#fff" : "#15202b";
      pen.strokeRect(c * cell + 1, r * cell + 1, Math.max(cell - 2, 2), Math.max(cell - 2, 2));
    }
    const size = `${rows} rows by ${columns} columns`;
    const at = worst ? ` at row ${worst[0]}, column ${worst[1]}` : "";
    this.canvas.setAttribute(
      "aria-label",
      `${this.node.querySelector("figcaption").textContent}, ${this.group.sliceName()}: ${size}, ` +
        `from ${show(least, 4)} to ${show(most, 4)}${at}. Arrow keys read single values.`,
    );
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const c = Math.floor(((event.clientX - box.left) / box.width) * this.group.columns);
    const r = Math.floor(((event.clientY - box.top) / box.height) * this.group.rows);
    if (r >= 0 && c >= 0 && r < this.group.rows && c < this.group.columns) this.group.set([r, c]);
  }

  key(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    this.group.move(step[0], step[1]);
  }
}

class HeatGroup {
  // A tensor's maps. `names` are its axes', `rowNames` its rows', `tell(flat, index)` says what stands at an element.
  constructor({ shape, names, rowNames, plane, start, tell, largest = 340, smallest = 3 }) {
    this.shape = shape;
    this.rowNames = rowNames;
    this.names = shape.map((_, i) => (names && names.length === shape.length ? names[i] : `axis ${i}`));
    this.strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
    const [down, across] = plane || HeatGroup.plane(shape, names);
    Object.assign(this, { down, across, tell });
    this.rows = down === null ? 1 : shape[down];
    this.columns = across === null ? 1 : shape[across];
    this.fixed = shape.map((_, i) => (start && start[i] < shape[i] ? start[i] : 0));
    this.cursor = start && start.length === shape.length ? [down === null ? 0 : start[down], across === null ? 0 : start[across]] : null;
    const most = Math.max(this.rows * 0.75, this.columns);
    this.cell = Math.max(smallest, Math.min(46, Math.floor(largest / most)));
    if (most <= 1) this.cell = 64;
    this.maps = [];
    this.readout = el("p", { class: "readout", "aria-live": "polite" });
  }

  // Which two axes are drawn: the spatial ones where they are named, else the last two.
  static plane(shape, names) {
    if (shape.length === 0) return [null, null];
    if (shape.length === 1) return [null, 0];
    if (names && names.length === shape.length) {
      const row = names.indexOf("row"), column = names.indexOf("column");
      if (row >= 0 && column >= 0) return [row, column];
      const step = names.indexOf("step");
      if (step >= 0) return [names.length - 1, step];
    }
    return [shape.length - 2, shape.length - 1];
  }

  static drawable(shape) {
    const [down, across] = HeatGroup.plane(shape, null);
    return shape.every((n) => n > 0) && (down === null || shape[down] <= 2048) && (across === null || shape[across] <= 2048);
  }

  add(map) {
    this.maps.push(new HeatMap(this, map));
    return this.maps[this.maps.length - 1].node;
  }

  selectors() {
    return this.shape.flatMap((size, axis) => {
      if (axis === this.down || axis === this.across || size < 2) return [];
      const options = Array.from({ length: size }, (_, i) => el("option", { value: i, selected: i === this.fixed[axis] }, String(i)));
      return [el("label", null, this.names[axis], el("select", {
        onchange: (event) => { this.fixed[axis] = Number(event.target.value); this.draw(); },
      }, options))];
    });
  }

  index(r, c) {
    return this.fixed.map((at, axis) => (axis === this.down ? r : axis === this.across ? c : at));
  }

  at(r, c) {
    return this.index(r, c).reduce((sum, i, axis) => sum + i * this.strides[axis], 0);
  }

  sliceName() {
    const parts = this.shape.flatMap((size, axis) =>
      axis === this.down || axis === this.across || size < 2 ? [] : [`${this.names[axis]} ${this.fixed[axis]}`]);
    return parts.length ? `slice ${parts.join(", ")}` : "all of it";
  }

  set(cursor) {
    if (this.cursor && this.cursor[0] === cursor[0] && this.cursor[1] === cursor[1]) return;
    this.cursor = cursor;
    this.draw();
  }

  move(down, across) {
    const [r, c] = this.cursor || [0, 0];
    this.cursor = [Math.max(0, Math.min(this.rows - 1, r + down)), Math.max(0, Math.min(this.columns - 1, c + across))];
    this.draw();
  }

  leave() {}

  draw() {
    for (const map of this.maps) map.draw();
    if (this.cursor && this.tell) {
      const [r, c] = this.cursor;
      this.readout.replaceChildren(...this.tell(this.at(r, c), this.index(r, c)));
    }
  }

  // The slice in numbers, made when it is asked for.
  table() {
    const body = el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Values" });
    return el("details", {
      class: "values",
      ontoggle: (event) => {
        if (!event.target.open) return;
        body.replaceChildren(...this.maps.map((map) => el("table", { class: "list" },
          el("caption", { class: "soft" }, map.node.querySelector("figcaption").textContent, ", ", this.sliceName()),
          el("thead", null, el("tr", null, el("th", { scope: "col" }, `${this.down === null ? "" : `${this.names[this.down]} by `}${this.across === null ? "" : this.names[this.across]}`),
            Array.from({ length: Math.min(this.columns, 64) }, (_, c) => el("th", { scope: "col", class: "num" }, String(c))))),
          el("tbody", null, Array.from({ length: Math.min(this.rows, 64) }, (_, r) => el("tr", null, el("th", { scope: "row" }, this.rowNames ? this.rowNames[r] : String(r)),
            Array.from({ length: Math.min(this.columns, 64) }, (_, c) => el("td", { class: "num" }, show(map.values[this.at(r, c)])))))))));
      },
    }, el("summary", null, "These values as a table"), body);
  }
}

function largestOf(values) {
  let most = 0;
  for (const value of values) if (Number.isFinite(value) && Math.abs(value) > most) most = Math.abs(value);
  return most || 1;
}

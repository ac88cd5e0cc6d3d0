// The matrix: every case by every target, filtered in one pass over flat lists, drawn row by row as it scrolls.

const ROW = 30;

class Matrix {
  constructor(index, node, controls, go) {
    Object.assign(this, { index, node, controls, go });
    this.words = index.ids.map((id, i) => `${id} ${index.operators[index.operatorOf[i]]} ${index.abouts[i]}`.toLowerCase());
    this.all = index.columns.map((_, i) => i);
    this.columns = this.all;
    this.rows = [];
    this.cases = [];
    this.at = [0, 0];
    this.drawn = new Map();
    this.fill();
    this.head = el("div", { class: "head", role: "row" });
    this.body = el("div", { role: "presentation" });
    this.body.style.position = "relative";
    node.append(this.head, this.body);
    node.addEventListener("scroll", () => this.schedule());
    node.addEventListener("keydown", (event) => this.key(event));
    node.addEventListener("focus", () => this.enter());
    node.addEventListener("click", (event) => this.click(event));
    new ResizeObserver(() => { this.layout(); this.paint(true); }).observe(node);
  }

  fill() {
    const { index, controls } = this;
    const unique = (values) => [...new Set(values)];
    const put = (select, first, values) => select.replaceChildren(
      el("option", { value: "" }, first), ...values.map((v) => el("option", { value: v }, v.replaceAll ? v : String(v))));
    const met = new Set();
    for (const codes of index.codes) for (const code of codes) if (code >= 0) met.add(Math.floor(code / 100));
    put(controls.outcome, "any", ["unexpected", "stale", "on file", ...index.outcomes.filter((_, i) => met.has(i))]);
    const several = index.families.filter((name) => !index.operators.includes(name));
    put(controls.operator, "any", unique([...several, ...index.operators]).sort());
    put(controls.on, "all", unique(index.columns.map((c) => c[0])));
    put(controls.format, "all", unique(index.columns.map((c) => c[1])));
  }

  // Filters and sorts by what the controls say.
  apply() {
    const { index, controls } = this;
    const words = controls.q.value.toLowerCase().split(/\s+/).filter(Boolean);
    const outcome = controls.outcome.value, operator = controls.operator.value;
    const on = controls.on.value, format = controls.format.value;
    this.columns = this.all.filter((i) => (!on || index.columns[i][0] === on) && (!format || index.columns[i][1] === format));
    const standing = { unexpected: 3, stale: 2, "on file": 1 }[outcome];
    const severity = index.outcomes.indexOf(outcome);
    const wanted = (code) => code >= 0 && (standing ? code % 10 === standing : Math.floor(code / 100) === severity);
    const operators = new Set(index.operators.flatMap((name, i) =>
      !operator || name === operator || index.families[index.familyOf[i]] === operator ? [i] : []));
    const lists = this.columns.map((i) => index.codes[i]);
    const found = [];
    for (let i = 0; i < this.words.length; i++) {
      if (!operators.has(index.operatorOf[i])) continue;
      const text = this.words[i];
      if (!words.every((word) => text.includes(word))) continue;
      if (!lists.some((codes) => (outcome ? wanted(codes[i]) : codes[i] >= 0))) continue;
      found.push(i);
    }
    const sort = controls.sort.value;
    if (sort === "id") found.sort((a, b) => (index.ids[a] < index.ids[b] ? -1 : 1));
    if (sort === "worst") {
      const worst = (i) => lists.reduce((most, codes) => Math.max(most, codes[i] < 0 ? -1 : (codes[i] % 10 === 3 ? 1e6 : 0) + codes[i]), -1);
      const key = new Map(found.map((i) => [i, worst(i)]));
      found.sort((a, b) => key.get(b) - key.get(a) || a - b);
    }
    if (sort === "bits") {
      const bits = this.columns.map((i) => index.bits[i]);
      const key = new Map(found.map((i) => [i, bits.reduce((least, list) => Math.min(least, list[i] >= 0 ? list[i] : 1e9), 1e9)]));
      found.sort((a, b) => key.get(a) - key.get(b) || a - b);
    }
    this.cases = found;
    this.rows = found;
    if (!sort) {
      // Groups are told by a header row: -1 - operator.
      this.rows = [];
      let last = -1;
      for (const i of found) {
        if (index.operatorOf[i] !== last) this.rows.push(-1 - (last = index.operatorOf[i]));
        this.rows.push(i);
      }
    }
    controls.count.value = `${found.length} of ${index.ids.length} cases`;
    if (this.at[0] >= this.rows.length) this.at = [0, 0];
    this.layout();
    this.paint(true);
  }

  layout() {
    const width = this.node.clientWidth;
    const narrow = width < 700;
    const cell = narrow ? 44 : 92;
    const rest = width - this.columns.length * (cell + 2) - 4;
    const id = narrow ? Math.max(rest, Math.round(width * 0.5)) : Math.max(rest, 300);
    this.width = id + this.columns.length * (cell + 2);
    this.node.style.setProperty("--id", `${id}px`);
    this.node.style.setProperty("--cell", `${cell}px`);
    const label = (i) => {
      const [target, format, layout] = this.index.columns[i];
      const names = [el("span", null, target), el("small", null, (narrow ? format.replace("float", "f") : format) + (layout === "native" ? "" : ` ${narrow ? layout.split("_").map((word) => word[0]).join("") : layout.replaceAll("_", " ")}`))];
      const head = el("div", { role: "columnheader", title: `${target} ${format} ${layout}` }, names);
      head.style.cssText = `flex:none;width:${cell + 2}px;text-align:center`;
      return head;
    };
    const corner = el("div", { class: "c-id", role: "columnheader" }, "Case");
    this.head.replaceChildren(corner, ...this.columns.map(label));
    this.head.style.width = `${this.width}px`;
    this.body.style.width = `${this.width}px`;
    this.body.style.height = `${Math.max(this.rows.length * ROW, 1)}px`;
    this.node.setAttribute("aria-rowcount", this.rows.length + 1);
  }

  schedule() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.paint(false); });
  }

  paint(fresh) {
    const top = Math.max(0, Math.floor(this.node.scrollTop / ROW) - 8);
    const end = Math.min(this.rows.length, top + Math.ceil(this.node.clientHeight / ROW) + 16);
    if (fresh) { this.body.replaceChildren(); this.drawn.clear(); }
    if (!this.rows.length) {
      this.body.replaceChildren(el("p", { class: "empty" }, "No case fits these filters."));
      return;
    }
    for (const [place, row] of this.drawn) if (place < top || place >= end) { row.remove(); this.drawn.delete(place); }
    const added = document.createDocumentFragment();
    for (let place = top; place < end; place++) {
      if (this.drawn.has(place)) continue;
      const row = this.rows[place] < 0 ? this.group(place) : this.row(place);
      row.style.transform = `translateY(${place * ROW}px)`;
      row.style.width = `${this.width}px`;
      this.drawn.set(place, row);
      added.append(row);
    }
    this.body.append(added);
    if (document.getElementById("at")) this.node.setAttribute("aria-activedescendant", "at");
    else this.node.removeAttribute("aria-activedescendant");
  }

  group(place) {
    const operator = -1 - this.rows[place];
    let count = 0;
    while (this.rows[place + count + 1] >= 0) count++;
    return el("div", { class: "row group", role: "row", "aria-rowindex": place + 2 },
      el("div", { class: "c-id", role: "rowheader" }, this.index.operators[operator], " ", el("em", null, `${count} case${count === 1 ? "" : "s"}`)));
  }

  row(place) {
    const { index } = this;
    const i = this.rows[place];
    const active = place === this.at[0];
    const cells = this.columns.map((column, c) => this.cell(i, column, active && c === this.at[1]));
    const id = el("div", { class: "c-id", role: "rowheader", title: `${index.ids[i]}\n${index.abouts[i]}` },
      el("a", { href: this.link(i), tabindex: "-1" }, index.ids[i]), el("small", null, index.abouts[i]));
    return el("div", { class: active ? "row on" : "row", role: "row", "aria-rowindex": place + 2, "data-place": place }, id, cells);
  }

  cell(i, column, active) {
    const code = this.index.codes[column][i];
    const at = active ? " at" : "";
    const id = active ? "at" : undefined;
    const [target, format] = this.index.columns[column];
    if (code < 0) return el("span", { class: `cell none${at}`, role: "gridcell", id, "aria-label": `${target} ${format}: not asked` }, "·");
    const outcome = this.index.outcomes[Math.floor(code / 100)];
    const way = Math.floor(code / 10) % 10;
    const bits = this.index.bits[column][i];
    const shown = showBits(bits < 0 ? bits : bits / 10);
    const words = [outcome.toLowerCase().replaceAll("_", " "), WAY_NAMES[way], STANDINGS[code % 10], bits >= 0 ? `${shown} bits` : ""];
    const told = `${target} ${format}: ${words.filter(Boolean).join(", ")}`;
    return el("div", { class: `cell o-${outcome} s-${code % 10}${at}`, role: "gridcell", id },
      el("a", { tabindex: "-1", href: this.link(i, column), title: told, "aria-label": told },
        el("b", null, WAYS[way] || GLYPHS[outcome]), bits >= 0 ? el("span", null, shown) : ""));
  }

  link(i, column) {
    const query = new URLSearchParams({ case: this.index.ids[i] });
    if (column !== undefined) query.set("target", this.index.columns[column].slice(0, 2).join("-"));
    return `#${query}`;
  }

  // A cell is at hand as soon as the keyboard is: a group's header is none.
  enter() {
    if (this.rows[this.at[0]] < 0) {
      this.at = [this.at[0] + 1, this.at[1]];
      this.paint(true);
    }
  }

  click(event) {
    const row = event.target.closest("[data-place]");
    if (row) this.at = [Number(row.dataset.place), this.at[1]];
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.node.clientHeight / ROW) - 3);
    const step = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -1e9, End: 1e9 }[event.key];
    let [r, c] = this.at;
    if (step !== undefined) r = Math.max(0, Math.min(this.rows.length - 1, r + step));
    else if (event.key === "ArrowLeft") c = Math.max(0, c - 1);
    else if (event.key === "ArrowRight") c = Math.min(this.columns.length - 1, c + 1);
    else if (event.key === "Enter" && this.rows[r] >= 0) { location.hash = this.link(this.rows[r], this.columns[c]); return; }
    else return;
    event.preventDefault();
    // Group headers are passed over.
    if (this.rows[r] < 0) r = step > 0 || r === 0 ? Math.min(r + 1, this.rows.length - 1) : r - 1;
    this.at = [r, c];
    this.reveal();
    this.paint(true);
  }

  reveal() {
    const top = this.at[0] * ROW, view = this.node.clientHeight - 46;
    if (top < this.node.scrollTop + ROW) this.node.scrollTop = Math.max(0, top - ROW);
    else if (top + ROW > this.node.scrollTop + view) this.node.scrollTop = top + ROW - view;
  }

  // The cases before and after one, in the order that is shown.
  neighbours(i) {
    const place = this.cases.indexOf(i);
    return place < 0 ? [i - 1, i + 1].map((n) => (n >= 0 && n < this.index.ids.length ? n : undefined)) : [this.cases[place - 1], this.cases[place + 1]];
  }
}

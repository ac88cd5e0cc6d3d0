// One case: what it asks, how its windows lie, what everyone gave.

class CasePage {
  constructor(index, matrix, node) {
    Object.assign(this, { index, matrix, node });
    this.back = "#view=matrix";
  }

  async open(id, target) {
    const place = this.index.ids.indexOf(id);
    if (place < 0) {
      this.node.replaceChildren(el("h1", null, "No such case"), el("p", { class: "lead" }, el("code", null, id), " is not in this report."),
        el("p", null, el("a", { href: "#view=matrix" }, "All cases")));
      return;
    }
    const request = (this.request = Symbol());
    let found = null, missing = "";
    try {
      found = await openCase(this.index, place);
    } catch (error) {
      missing = error.message;
    }
    if (request !== this.request) return;
    this.place = place;
    if (!found) {
      this.case = null;
      this.lacking(id, missing);
      return;
    }
    this.case = found;
    this.target = target || "";
    this.draw(id);
  }

  // What the matrix knows of a case whose details are not there.
  lacking(id, file) {
    const about = this.index.abouts[this.place];
    const told = this.index.columns.flatMap(([target, format], i) => {
      const code = this.index.codes[i][this.place];
      return code < 0 ? [] : [{ target, format, outcome: this.index.outcomes[Math.floor(code / 100)], standing: STANDINGS[code % 10] }];
    });
    this.node.className = "view case";
    this.node.replaceChildren(
      el("div", { class: "case-top" }, el("a", { href: this.back }, "← All cases")),
      el("h1", { tabindex: "-1" }, id),
      about ? el("p", { class: "about" }, about) : "",
      el("p", { class: "notice bad", role: "alert" }, el("strong", null, "The details are missing: "), el("code", null, file),
        " beside this page is not there, or cannot be read. Copy the folder ", el("code", null, "details"), " together with this file, or write the report again with ", el("code", null, "conformance report"), "."),
      el("table", { class: "list" }, el("tbody", null, told.map(({ target, format, outcome, standing }) => el("tr", null,
        el("th", { scope: "row" }, target), el("td", null, format), el("td", null, mark(GLYPHS[outcome], outcome), " ", outcome.toLowerCase().replaceAll("_", " "), standing ? `, ${standing}` : ""))))));
  }

  name(result) {
    const [target, format, layout] = this.index.columns[result.column];
    return { target, format, layout, full: `${target}-${format}` };
  }

  chosen(result) {
    const name = this.name(result);
    return this.target === name.full || this.target === name.target;
  }

  draw(id) {
    const found = this.case;
    const about = this.index.abouts[this.place];
    const [before, after] = this.matrix.neighbours(this.place);
    const step = (i, words, key) => el("button", {
      type: "button", disabled: i === undefined, title: `${words} (${key})`, id: `go-${key}`,
      onclick: () => { location.hash = this.matrix.link(i) + (this.target ? `&${new URLSearchParams({ target: this.target })}` : ""); },
    }, words);
    const claims = new Map();
    for (const result of found.results)
      for (const [says, holds, measured] of result.claims) {
        if (!claims.has(says)) claims.set(says, { holds, who: { true: [], false: [] } });
        claims.get(says).who[measured].push(this.name(result).full);
      }
    const byTarget = new Map();
    for (const result of [...found.results].sort((a, b) => a.column - b.column)) {
      const { target } = this.name(result);
      byTarget.set(target, [...(byTarget.get(target) || []), result]);
    }
    this.node.className = "view case";
    this.node.replaceChildren(
      el("div", { class: "case-top" }, el("a", { href: this.back }, "← All cases"), el("span", { class: "spring" }), step(before, "Previous", "k"), step(after, "Next", "j")),
      el("h1", { tabindex: "-1" }, id),
      about ? el("p", { class: "about" }, about) : "",
      el("ul", { class: "answer" }, this.answer()),
      el("p", { class: "copies" }, found.yaml ? copyButton("Copy YAML", () => found.yaml) : "", copyButton("Copy as issue", () => this.issue(id))),
      el("div", { class: "meta" },
        el("span", null, "Operator ", el("b", null, found.operator)),
        ...Object.entries(found.shapes).map(([name, shape]) => el("span", null, `${name} `, el("b", null, shape.length ? shape.join(" × ") : "scalar"))),
        found.tier ? el("span", null, "Tier ", el("b", null, found.tier)) : "",
        found.source ? el("span", null, "Source ", this.source(found.source)) : ""),
      el("h2", { class: "hush" }, "Verdicts"),
      el("div", { class: "verdicts" }, [...byTarget.values()].map((results) => this.verdict(results))),
      ...this.section("Claims of the source", [...claims].map(([says, claim]) => this.claim(says, claim))),
      ...this.section("Geometry", found.drawings.map((d) => this.geometry(d))),
      ...this.section("Values", this.values()),
      ...this.section("Comparisons", this.comparisons()),
      ...this.section("Accumulators", this.accumulators()),
      ...this.section("Native calls as they were made", this.calls()),
      ...this.section("Reproduce", this.scripts(id)),
      ...this.section("The case", found.yaml ? [this.yaml(found.yaml)] : []),
    );
  }

  // What came of it, a line for all who gave the same: first what differs, and why where that is known.
  answer() {
    const lines = new Map(), agreed = new Map(), formats = new Map();
    for (const result of this.case.results) {
      const { target, format } = this.name(result);
      formats.set(target, new Set([...(formats.get(target) || []), format]));
      const say = (found, key, line) => {
        if (!found.has(key)) found.set(key, { ...line, who: new Map(), checks: new Set() });
        const { who } = found.get(key);
        who.set(target, new Set([...(who.get(target) || []), format]));
        return found.get(key);
      };
      const apart = result.verdicts.filter(([, outcome]) => outcome !== "AGREES");
      for (const [check, outcome, reason, detail, standing, deviation] of apart) {
        const known = (this.index.known[deviation] || [""])[0];
        const why = known || result.diagnosis || detail.split("\n")[0] || reason;
        const tag = standing === "unexpected" ? standing : deviation ? "on file" : "";
        say(lines, [outcome, why, tag].join("\n"), { outcome, why, tag }).checks.add(check);
      }
      if (!apart.length) say(agreed, result.reading, { outcome: "AGREES", why: result.reading });
    }
    const names = (who) => [...who].map(([target, own]) => (own.size < formats.get(target).size ? `${target} (${[...own].join(", ")})` : target)).join(", ");
    const severity = ({ outcome }) => this.index.outcomes.indexOf(outcome);
    const told = [...lines.values()].sort((a, b) => severity(b) - severity(a)).map(({ outcome, why, tag, who, checks }) =>
      el("li", null, mark(GLYPHS[outcome], outcome), " ", el("b", null, names(who)), ` ${[...checks].join(" and ")}: `,
        el("span", { class: `o-${outcome}` }, outcome.toLowerCase().replaceAll("_", " ")), `; ${why} `,
        tag ? el("span", { class: tag === "unexpected" ? "tag bad" : "tag" }, tag) : ""));
    for (const { why, who } of agreed.values())
      told.push(el("li", null, mark("≈", "AGREES"), " ", el("b", null, names(who)), why ? `: ${why}` : " agree"));
    return told;
  }

  section(title, content) {
    const filled = content.filter(Boolean);
    return filled.length ? [el("h2", null, title), ...filled] : [];
  }

  verdict(results) {
    const { target } = this.name(results[0]);
    const versions = Object.entries(results[0].versions).map(([key, value]) => `${key} ${value}`).join(", ");
    const told = new Set();
    const fresh = (text) => text && !told.has(text) && told.add(text);
    const composed = [...new Set(results.flatMap((result) => result.composed))];
    return el("article", { class: results.some((r) => this.chosen(r)) ? "verdict on" : "verdict" },
      el("h3", null, target),
      results.map((result) => {
        const { format, layout } = this.name(result);
        const bits = this.index.bits[result.column][this.place];
        return el("section", null,
          el("h4", null, format, layout === "native" ? "" : ` ${layout}`,
            el("span", { class: "bits", title: "effective bits of the worst array" }, bits === -2 ? "" : bits === -1 ? "exact" : `${showBits(bits / 10)} bits`)),
          result.verdicts.map(([check, outcome, reason, detail, standing, deviation]) => {
            const way = { exact: "=", "within bound": "≈", "within norm-wise bound": "∼", refused: "⊘" }[reason];
            return el("div", null,
              el("p", null, mark(outcome === "AGREES" && way ? way : GLYPHS[outcome], outcome), " ", el("b", null, check), " ",
                `${outcome.toLowerCase().replaceAll("_", " ")}, ${reason} `,
                standing === "unexpected" ? el("span", { class: "tag bad" }, "unexpected") : standing === "stale" ? el("span", { class: "tag warn" }, "stale") : "",
                " ", deviation ? this.onFile(deviation) : ""),
              fresh(detail) ? el("p", { class: "why" }, detail) : detail ? el("p", { class: "why" }, "the same") : "");
          }),
          result.reading ? el("p", { class: "diagnosis" }, result.reading, " ",
            el("span", { class: "soft" }, `out of: ${result.readings.join("; ")}`)) : "",
          fresh(result.diagnosis) ? el("p", { class: "diagnosis" }, result.diagnosis) : "",
          fresh(result.terms) ? el("p", { class: "why" }, result.terms) : "",
          result.free ? el("p", { class: "why" }, result.free) : "");
      }),
      composed.length ? el("p", { class: "versions" }, `Composed, as ${composed.join("; ")}.`) : "",
      el("p", { class: "soft versions" }, `${versions}; ${show(results[0].ms[0], 3)} ms in the framework, ${show(results[0].ms[1], 3)} ms in all`));
  }

  // Where a case comes from: an address on the web can be followed.
  source(text) {
    const web = /^https?:\/\/[^/\s]+/.test(text);
    return web ? el("a", { href: text, rel: "noreferrer noopener" }, text) : el("b", null, text);
  }

  // A deviation that a result shows: its place on the page of deviations, and the thread where it was reported.
  onFile(deviation) {
    const [about, place, thread] = this.index.known[deviation] || ["", "", ""];
    return el("span", null, el("a", { class: "tag", href: `#view=deviations&at=${place}`, title: about }, `on file: ${deviation}`),
      thread ? [" ", el("a", { href: thread, rel: "noreferrer noopener", title: thread }, "upstream thread")] : "");
  }

  claim(says, { holds, who }) {
    const agree = who[String(!holds)].length === 0;
    const measured = [...(who.true.length ? [`true on ${who.true.join(", ")}`] : []), ...(who.false.length ? [`false on ${who.false.join(", ")}`] : [])].join("; ");
    return el("div", { class: "claim" }, mark(holds ? "✓" : "≠", agree ? (holds ? "AGREES" : "DIFFERS") : "LOW_PRECISION"),
      el("p", null, el("b", null, holds ? "Holds" : "Refuted", ": "), `“${says}” `, el("span", { class: "soft" }, `Measured: ${measured}.`)));
  }

  geometry(d) {
    const picture = d.plane ? drawing(d.plane) : null;
    const walk = el("p", { class: "walk", "aria-live": "polite" });
    const left = el("div", null);
    const strips = el("div", { class: "strips" }, d.strips.map((strip, i) => el("div", null,
      el("p", { class: "formula" }, el("b", null, d.lines[i][0]), d.lines[i][1]), el("p", { class: "remark" }, d.lines[i][2]), drawing(strip))));
    if (picture) {
      left.append(picture, walk);
      walkPlane(picture, walk);
    }
    const transposed = picture ? picture.dataset.kind === "transposed" : d.lines.some((line) => line[1].startsWith("canvas"));
    const sample = (fill, words) => el("span", null, drawing(`<svg xmlns="http://www.w3.org/2000/svg" width="14" height="14" aria-hidden="true"><rect class="${fill}" width="14" height="14"/></svg>`), words);
    left.append(el("div", { class: "key" }, sample("g-in", transposed ? "kept" : "input"), sample("g-pad", transposed ? "cropped" : "pad"),
      sample("g-tap", "kernel"), transposed ? sample("g-overlap-2", "overlaps add") : sample("g-unread", "unread")));
    return el("div", { class: "block" }, this.case.drawings.length > 1 ? el("h3", null, d.title) : "",
      picture ? el("div", { class: "geometry" }, left, strips) : [el("div", { class: "geometry wide" }, strips), left]);
  }

  // Which arrays are there: by data set and format, every target that has some.
  evidence() {
    const sets = new Map();
    for (const result of this.case.results) {
      const { format } = this.name(result);
      for (const [data, tensors] of Object.entries(result.arrays)) {
        const key = `${data}, ${format}`;
        if (!sets.has(key)) sets.set(key, { data, format, holders: [], tensors: new Set() });
        const set = sets.get(key);
        set.holders.push(result);
        Object.keys(tensors).forEach((name) => set.tensors.add(name));
      }
    }
    return sets;
  }

  worst(result, data, tensor) {
    const [kind, ...rest] = tensor.split(" ");
    const check = kind === "output" ? "outputs" : "gradients";
    return result.comparisons.find((c) => c[0] === rest.join(" ") && c[1] === check && c[2] === data);
  }

  values() {
    const sets = this.evidence();
    if (!sets.size) {
      return [el("p", { class: "soft" }, "No arrays were kept: they are where something differs, and for small cases in one format.")];
    }
    const body = el("div");
    const judged = (set) => [...set.tensors].filter((name) => /^(output|gradient) /.test(name));
    const badness = (set, tensor) => Math.max(-1, ...set.holders.map((r) => { const c = this.worst(r, set.data, tensor); return c ? num(c[5]) : -1; }));
    const keys = [...sets.keys()];
    const score = (key) => Math.max(-1, ...judged(sets.get(key)).map((t) => badness(sets.get(key), t))) + (sets.get(key).holders.some((r) => this.chosen(r)) ? 1e-6 : 0);
    keys.sort((a, b) => (score(b) > 1 || score(a) > 1 ? score(b) - score(a) : 0));
    const choose = el("select", { "aria-label": "data and format", onchange: () => fill(true) }, keys.map((key) => el("option", { value: key }, key)));
    const tensor = el("select", { "aria-label": "tensor", onchange: () => fill(false) });
    const fill = (fresh) => {
      const set = sets.get(choose.value);
      if (fresh) {
        const names = judged(set);
        const worst = names.reduce((a, b) => (badness(set, b) > Math.max(1, badness(set, a)) ? b : a), names[0]);
        tensor.replaceChildren(...names.map((name) => el("option", { value: name, selected: name === worst }, titled(name))));
      }
      body.replaceChildren(...this.maps(set, tensor.value));
    };
    fill(true);
    return [el("div", { class: "bar-line" }, el("label", null, "Data and format", choose), el("label", null, "Tensor", tensor)), body];
  }

  maps(set, tensor) {
    const { store, axes } = this.case;
    const parts = [];
    const name = tensor ? tensor.slice(tensor.indexOf(" ") + 1) : "";
    const withExpected = set.holders.filter((r) => r.arrays[set.data][tensor] && "expected" in r.arrays[set.data][tensor]);
    if (withExpected.length) {
      const first = withExpected[0].arrays[set.data][tensor];
      const expected = store.get(first.expected);
      const order = [...withExpected].sort((a, b) => a.column - b.column);
      const ratios = order.map((r) => num((this.worst(r, set.data, tensor) || [])[5] ?? -1));
      const chosen = order.findIndex((r) => this.chosen(r));
      const lead = chosen >= 0 ? chosen : ratios.indexOf(Math.max(...ratios));
      const comparison = this.worst(order[lead], set.data, tensor);
      if (!HeatGroup.drawable(expected.shape)) {
        parts.push(el("p", { class: "soft" }, `Shape ${expected.shape.join(" × ")}: nothing to draw.`));
      } else {
        const entries = order.map((result) => {
          const roles = result.arrays[set.data][tensor];
          const got = "got" in roles ? store.get(roles.got) : null;
          const same = got && String(got.shape) === String(expected.shape);
          const own = this.worst(result, set.data, tensor);
          const ratio = !same ? null : "ratio" in roles ? store.get(roles.ratio).values
            : ratioOf(got.values, store.get(roles.expected).values, "bound" in roles ? store.get(roles.bound).values : null, set.format, own);
          const bound = "bound" in roles ? store.get(roles.bound).values : null;
          return { result, got, same, ratio, bound, place: roles.got };
        });
        // Layouts of a target that gave the same bits stand once.
        const alike = (e) => entries.find((other) => other.place === e.place && e.got && this.name(other.result).target === this.name(e.result).target);
        const hands = entries.filter((e) => !e.got || alike(e) === e);
        const called = (e) => {
          const { target } = this.name(e.result);
          const layouts = entries.filter((other) => alike(other) === e).map((other) => this.name(other.result).layout.replaceAll("_", " "));
          const every = entries.filter((other) => this.name(other.result).target === target);
          return layouts.length === every.length || !layouts.length ? target : `${target} (${layouts.join(", ")})`;
        };
        const tell = (flat, index) => [
          el("span", null, `[${index.join(", ")}] expected ${show(expected.values[flat], 8)}`),
          ...hands.filter((e) => e.same).flatMap((e) => [el("br"), el("span", null,
            `${called(e)}: got ${show(e.got.values[flat], 8)}, error ${show(Math.abs(e.got.values[flat] - expected.values[flat]), 3)}` +
            (e.bound ? `, bound ${show(e.bound[flat], 3)}` : "") + `, ratio ${show(e.ratio[flat], 3)}`)]),
        ];
        // As many hands side by side as there is room for, but no map smaller than a stamp.
        const room = Math.min(1560, document.documentElement.clientWidth) - 110;
        const largest = Math.max(170, Math.min(340, Math.floor(room / (hands.length + 1)) - 42));
        const group = new HeatGroup({ shape: expected.shape, names: axes[name], start: comparison ? comparison[7] : null, tell, largest });
        const most = largestOf(expected.values);
        const figures = [el("div", { class: "pair" }, group.add({ title: [el("b", null, "expected")], kind: "value", values: expected.values, most }))];
        for (const hand of hands) {
          const { result, got, same, ratio } = hand;
          const who = called(hand);
          const pair = el("div", { class: this.chosen(result) ? "pair on" : "pair" });
          if (same) {
            pair.append(group.add({ title: [el("b", null, who), " got"], kind: "value", values: got.values, most }));
            pair.append(group.add({ title: [el("b", null, who), " error / bound"], kind: "ratio", values: ratio }));
          } else {
            pair.append(el("p", { class: "soft" }, `${who}: ${got ? `gave shape ${got.shape.join(" × ")}, expected is ${expected.shape.join(" × ")}` : "no such array came back"}`));
            if (got && HeatGroup.drawable(got.shape)) {
              const other = new HeatGroup({ shape: got.shape, names: axes[name], tell: (flat, index) => [`[${index.join(", ")}] ${who} gave ${show(got.values[flat], 8)}`] });
              pair.append(other.add({ title: [el("b", null, who), " got"], kind: "value", values: got.values, most }), ...other.selectors(), other.readout);
              other.draw();
            }
          }
          figures.push(pair);
        }
        const picks = group.selectors();
        if (picks.length) parts.push(el("div", { class: "bar-line" }, picks));
        parts.push(el("div", { class: "maps" }, figures), group.readout);
        if (set.format === "float64" && !("ratio" in first)) parts.push(el("p", { class: "soft" }, "Pictures are kept in single precision: smaller differences show in the comparisons below, not here."));
        parts.push(group.table(), ...this.sums(order, set, tensor));
        group.draw();
        this.group = group;
      }
    }
    const operands = [...set.tensors].filter((t) => !/^(output|gradient) /.test(t));
    const holder = set.holders[0];
    const drawn = operands.flatMap((title) => {
      const roles = holder.arrays[set.data][title];
      if (!roles || !("given" in roles)) return [];
      const array = store.get(roles.given);
      if (!HeatGroup.drawable(array.shape)) return [];
      const short = title.slice(title.indexOf(" ") + 1);
      const group = new HeatGroup({ shape: array.shape, names: axes[short], largest: 220, tell: (flat, index) => [`[${index.join(", ")}] ${show(array.values[flat], 8)}`] });
      const figure = group.add({ title: [el("b", null, titled(title))], kind: "value", values: array.values, most: largestOf(array.values) });
      const block = el("div", { class: "block" }, figure, el("div", { class: "bar-line" }, group.selectors()), group.readout);
      group.draw();
      return [block];
    });
    if (drawn.length) parts.push(el("div", { class: "operands" }, el("h3", null, "What was given"), el("div", { class: "maps" }, drawn)));
    return parts;
  }

  comparisons() {
    const rows = this.case.results.flatMap((result) => result.comparisons.map((c) => ({ c, ...this.name(result) })));
    if (!rows.length) return [];
    const heads = ["Tensor", "Data", "Target", "Format", "Error / bound", "Bits", "Worst at", "Expected", "Got", "Error", "Bound", "Outside"];
    const numeric = new Set([4, 5, 7, 8, 9, 10, 11]);
    const key = ({ c, target, format }) => `${c[3] ? 1 : 0} ${c[1] === "outputs" ? 0 : 1} ${c[0]} ${c[2]} ${format} ${target}`;
    rows.sort((a, b) => (key(a) < key(b) ? -1 : 1));
    const left = this.case.results.filter((r) => r.compared > r.comparisons.length).map((r) => `${this.name(r).full}: the ${r.comparisons.length} largest ratios of ${r.compared}`);
    return [left.length ? el("p", { class: "soft" }, `${left.join("; ")}.`) : "", el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Comparisons" }, el("table", { class: "list comparisons" },
      el("thead", null, el("tr", null, heads.map((h, i) => el("th", { scope: "col", class: numeric.has(i) ? "num" : "" }, h)))),
      el("tbody", null, rows.map(({ c, target, format }) => {
        const title = c[1] === "gradients" ? `∂ ${c[0]}` : c[0];
        if (c[13].length || c[14].length) {
          const what = c[13].length ? `shape ${c[13][1].join(" × ") || "scalar"}, expected ${c[13][0].join(" × ") || "scalar"}` : `format ${c[14][1]}, expected ${c[14][0]}`;
          return el("tr", { class: "out" }, el("td", null, title), el("td", null, c[2]), el("td", null, target), el("td", null, format), el("td", { colspan: 8 }, `≠ ${what}`));
        }
        const cells = [title, c[2], target, format, (c[3] ? "" : "≠ ") + show(c[5], 3), showBits(c[6]), `[${c[7].join(", ")}]`,
          show(c[8], format === "float64" ? 17 : 9), show(c[9], format === "float64" ? 17 : 9), show(c[10], 3), show(c[11], 3), c[12] ? String(c[12]) : ""];
        return el("tr", { class: c[3] ? "" : "out" }, cells.map((text, i) => el("td", { class: numeric.has(i) ? "num" : "" }, text)));
      }))))];
  }

  calls() {
    const by = new Map();
    for (const result of this.case.results) {
      if (!result.calls.length) continue;
      const text = result.calls.join("\n");
      const { target, format } = this.name(result);
      const key = `${target}\n${text}`;
      if (!by.has(key)) by.set(key, { target, formats: [], text });
      by.get(key).formats.push(format);
    }
    return by.size ? [el("div", { class: "calls" }, [...by.values()].map(({ target, formats, text }) =>
      el("div", null, el("h3", null, el("b", null, target), " ", formats.join(", ")), verbatim(text, `Calls of ${target}`))))] : [];
  }

  // The worst element of a tensor, product by product, once where several targets have the same.
  sums(results, set, tensor) {
    const name = tensor.slice(tensor.indexOf(" ") + 1);
    const key = `${set.data}/${tensor.startsWith("output ") ? "outputs" : "gradients"}/${name}`;
    const by = new Map();
    for (const result of results) if (result.sums[key]) by.set(result.sums[key], [...new Set([...(by.get(result.sums[key]) || []), this.name(result).target])]);
    const blocks = [...by].map(([text, targets]) => el("div", null, el("h4", null, targets.join(", ")), verbatim(text, `${targets.join(", ")}, term by term`)));
    return blocks.length ? [el("h3", { class: "next" }, "The worst element, term by term"), el("div", { class: "calls" }, blocks)] : [];
  }

  // In which format sums are kept, by target and format, as the adapter declares it; those of one kind in one line.
  accumulators() {
    const rows = [...this.case.results].sort((a, b) => a.column - b.column).filter((r) => r.accumulators.length).map((result) => {
      const { target, format } = this.name(result);
      const by = new Map();
      for (const [array, kind] of result.accumulators) by.set(kind, [...(by.get(kind) || []), array]);
      const told = [...by].map(([kind, arrays]) => `${by.size === 1 ? "all" : arrays.join(", ")} in ${kind}`.replace("in stored", "stored")).join("; ");
      return el("tr", null, el("th", { scope: "row" }, target), el("td", null, format), el("td", null, told));
    });
    return rows.length ? [el("p", { class: "soft" }, "What sums are kept in before they are rounded to the format, as the adapter declares it: the bound follows from it."),
      el("div", { class: "scroll" }, el("table", { class: "list narrow" }, el("thead", null, el("tr", null, ["Target", "Format", "Sums"].map((h) => el("th", { scope: "col" }, h)))), el("tbody", null, rows)))] : [];
  }

  command(id, result) {
    const { target, format } = this.name(result);
    return `conformance repro ${id} -t ${target} --format ${format}`;
  }

  // One script a target where something is to be reported and the numbers are few; for all others the command that writes it.
  scripts(id) {
    const by = new Map();
    for (const result of this.case.results) {
      const { target } = this.name(result);
      if (target === "reference" || !result.calls.length) continue;
      const known = by.get(target);
      if (!known || (result.script && !known.script) || this.target === this.name(result).full) by.set(target, result);
    }
    return by.size ? [el("p", { class: "soft" }, "A script needs the framework and NumPy alone; it prints what was expected, what it got, and the verdict."),
      el("div", { class: "calls" }, [...by.values()].map((result) => {
        const { target, format } = this.name(result);
        return el("div", null, el("h3", null, el("b", null, target), " ", format),
          el("div", { class: "yaml" }, verbatim(this.command(id, result), `Command for ${target}`), copyButton("Copy", () => this.command(id, result))),
          result.script ? el("details", { class: "values" }, el("summary", null, `The script, ${result.script.trimEnd().split("\n").length} lines`),
            el("div", { class: "yaml" }, verbatim(result.script, `Script for ${target}`), copyButton("Copy", () => result.script))) : "");
      }))] : [];
  }

  yaml(text) {
    return el("div", { class: "yaml" }, verbatim(text, "The case in YAML"), copyButton("Copy", () => text));
  }

  // Markdown for a framework's tracker, about the target that was chosen, or the gravest; fences are longer than any in the text.
  issue(id) {
    const about = this.index.abouts[this.place];
    const grave = (r) => Math.max(...r.verdicts.map(([, outcome]) => this.index.outcomes.indexOf(outcome)));
    const chosen = this.case.results.filter((r) => this.chosen(r));
    const { target } = this.name((chosen.length ? chosen : [...this.case.results]).reduce((a, b) => (grave(b) > grave(a) ? b : a)));
    const results = this.case.results.filter((r) => this.name(r).target === target);
    const worst = results.reduce((a, b) => (grave(b) > grave(a) ? b : a));
    const fenced = (text, kind) => { const fence = "`".repeat(Math.max(3, ...(text.match(/`+/g) || []).map((run) => run.length + 1))); return `${fence}${kind}\n${text.trimEnd()}\n${fence}`; };
    const told = worst.verdicts.map(([check, outcome, reason]) => `${check} ${outcome} (${reason})`).join(", ");
    const digits = (format) => (format === "float64" ? 17 : 9);
    const line = ({ c, format }) => {
      const name = `${c[1] === "gradients" ? "gradient of " : ""}${c[0]}, ${c[2]} data, ${format}`;
      if (c[13].length) return `${name}: expected shape [${c[13][0].join(", ")}], got [${c[13][1].join(", ")}]`;
      if (c[14].length) return `${name}: expected ${c[14][0]}, got ${c[14][1]}`;
      const relative = num(c[8]) ? `, relative ${show(num(c[10]) / Math.abs(num(c[8])), 2)}` : "";
      return `${name}: worst at [${c[7].join(", ")}], expected ${show(c[8], digits(format))}, got ${show(c[9], digits(format))}; error ${show(c[10], 3)}${relative}, bound ${show(c[11], 3)}, error / bound ${show(c[5], 3)}, ${c[12]} outside`;
    };
    const compared = results.flatMap((r) => r.comparisons.map((c) => ({ c, format: this.name(r).format })));
    const apart = compared.filter(({ c }) => !c[3]);
    // What a case states itself says again what the reference says, unless they part.
    const own = apart.filter(({ c }) => !c[0].endsWith(" (stated)"));
    const outside = own.length ? own : apart;
    const shown = (outside.length ? outside : compared).sort((a, b) => num(b.c[5]) - num(a.c[5])).slice(0, 12);
    const threads = [...new Set(results.flatMap((r) => r.verdicts.map(([, , , , , deviation]) => (this.index.known[deviation] || [])[2])).filter(Boolean))];
    const details = [...new Set(results.flatMap((r) => r.verdicts.map(([, , , detail]) => detail)).filter(Boolean))];
    return [
      `# ${target}: ${id}: ${told}`, about,
      `Versions: ${Object.entries(worst.versions).map(([name, version]) => `${name} ${version}`).join(", ")}`,
      threads.length ? `Reported before: ${threads.join(", ")}` : "",
      shown.length ? fenced(shown.map(line).join("\n").replaceAll("−", "-"), "text") : "",
      !outside.length && details.length ? fenced(details.join("\n"), "text") : "",
      worst.calls.length ? `Native calls as they were made:\n\n${fenced(worst.calls.join("\n"), "python")}` : "",
      worst.script ? `A script that shows it:\n\n${fenced(worst.script, "python")}` : `A script that shows it: \`${this.command(id, worst)}\``,
      this.case.yaml ? `The case:\n\n${fenced(this.case.yaml, "yaml")}` : "",
    ].filter(Boolean).join("\n\n") + "\n";
  }
}

// Text as it was written; the keys scroll it.
function verbatim(text, name) {
  return el("pre", { tabindex: "0", role: "group", "aria-label": name }, text);
}

// Copies a text; where the clipboard is out of reach (a file opened from disk), it stands selected, ready for the keyboard.
function copyButton(words, text) {
  const said = (now) => { button.textContent = now; setTimeout(() => { button.textContent = words; }, 1500); };
  const button = el("button", {
    type: "button", "aria-live": "polite",
    onclick: async () => {
      try {
        await navigator.clipboard.writeText(text());
      } catch {
        const area = el("textarea", { class: "hush", readonly: true, "aria-label": words });
        area.value = text();
        document.body.append(area);
        area.select();
        const copied = document.execCommand("copy");
        area.remove();
        button.focus();
        if (!copied) return said("Not copied");
      }
      return said("Copied");
    },
  }, words);
  return button;
}

// "output output" is the output, "gradient x" the gradient of x.
function titled(tensor) {
  const [kind, ...rest] = tensor.split(" ");
  const name = rest.join(" ");
  return kind === "gradient" ? `gradient of ${name}` : kind === "cotangent" ? `cotangent of ${name}` : name;
}

// error / room by element, where room is the bound and the half unit of the last rounding.
function ratioOf(got, expected, bound, format, comparison) {
  const unit = { float64: 2 ** -24, float32: 2 ** -24, bfloat16: 2 ** -8, float16: 2 ** -11 }[format] || 2 ** -24;
  const within = comparison && comparison[3];
  return got.map((value, i) => {
    const error = Math.abs(value - expected[i]);
    if (Object.is(value, expected[i]) || value === expected[i] || (Number.isNaN(value) && Number.isNaN(expected[i]))) return 0;
    const ratio = error / ((bound ? bound[i] : 0) + unit * Math.abs(expected[i]));
    return within ? Math.min(1, ratio) : Number.isNaN(ratio) ? Infinity : ratio;
  });
}

// Lets a reader walk through the windows of a plane: pointing at an output (or a placed input) moves the kernel.
function walkPlane(picture, walk) {
  const d = picture.dataset;
  const pair = (text) => text.split(" ").map(Number);
  const cell = Number(d.cell), rows = Number(d.rows), columns = Number(d.columns);
  const stride = pair(d.stride), origin = pair(d.origin), kernel = pair(d.kernel), dilation = pair(d.dilation), inside = pair(d.inside);
  const footprint = picture.querySelector(".footprint"), now = picture.querySelector(".g-now");
  let at = [0, 0];
  const list = (axis, i) => {
    const positions = Array.from({ length: kernel[axis] }, (_, t) => origin[axis] + i * stride[axis] + t * dilation[axis]);
    return positions.map((p) => (p < 0 || p >= inside[axis] ? `(${p})` : String(p))).join(" ");
  };
  const set = (r, c) => {
    at = [Math.max(0, Math.min(rows - 1, r)), Math.max(0, Math.min(columns - 1, c))];
    footprint.setAttribute("transform", `translate(${Number(d.x) + at[1] * stride[1] * cell} ${Number(d.y) + at[0] * stride[0] * cell})`);
    now.setAttribute("x", Number(d.left) + at[1] * cell);
    now.setAttribute("y", Number(d.top) + at[0] * cell);
    const place = `[${at.join(", ")}]`;
    walk.textContent = d.kind === "transposed"
      ? `x${place} adds to rows ${list(0, at[0])}, columns ${list(1, at[1])}; (in parentheses: cropped)`
      : `y${place} reads rows ${list(0, at[0])}, columns ${list(1, at[1])}; (in parentheses: pad)`;
  };
  picture.setAttribute("tabindex", "0");
  picture.addEventListener("pointermove", (event) => {
    const spot = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    const c = Math.floor((spot.x - Number(d.left)) / cell), r = Math.floor((spot.y - Number(d.top)) / cell);
    if (r >= 0 && c >= 0 && r < rows && c < columns) set(r, c);
  });
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    set(at[0] + step[0], at[1] + step[1]);
  });
  set(0, 0);
}

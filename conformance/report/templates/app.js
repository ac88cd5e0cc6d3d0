// The page: views by the address after #, the theme, keys.

const FILTERS = ["q", "outcome", "operator", "on", "format", "sort"];

function drawTraining(records) {
  for (const holder of document.querySelectorAll(".ratios")) {
    const mine = records.filter((record) => record.form === holder.dataset.form);
    if (!mine.length) continue;
    const maps = el("div", { class: "maps" });
    holder.replaceChildren(el("h3", null, "Layers by steps: error / bound"),
      el("p", { class: "soft" }, "Each tensor of a captured step against its own bound; more than 1 is outside."), maps);
    for (const record of mine) {
      const steps = Math.max(...record.rows.map((row) => row.length));
      const values = new Float32Array(record.tensors.length * steps).fill(NaN);
      record.rows.forEach((row, r) => row.forEach((value, c) => { values[r * steps + c] = num(value); }));
      const group = new HeatGroup({
        shape: [record.tensors.length, steps], names: ["tensor", "step"], rowNames: record.tensors, plane: [0, 1],
        tell: (flat, [r, c]) => [`${record.tensors[r]}, step ${c + 1}: ${show(values[flat], 3)}`],
      });
      group.cell = 14;
      const figure = group.add({ title: [el("b", null, record.target)], kind: "ratio", values });
      const names = el("ol", { "aria-hidden": "true" }, record.tensors.map((name) => el("li", null, name)));
      const canvas = figure.querySelector("canvas");
      const labelled = el("div", { class: "labelled" }, names);
      canvas.replaceWith(labelled);
      labelled.append(canvas);
      maps.append(el("div", { class: "block scroll" }, figure, group.readout, group.table()));
      group.draw();
      redraws.push(() => group.draw());
    }
  }
}

// Narrows the page of deviations to the articles that hold all words; those that no run met open with the first word.
function filterDeviations(box, count) {
  const articles = [...document.querySelectorAll("#view-deviations .deviation")];
  const texts = articles.map((article) => article.textContent.toLowerCase());
  const rest = document.getElementById("d-rest");
  const apply = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    articles.forEach((article, i) => {
      article.hidden = !words.every((word) => texts[i].includes(word));
      found += !article.hidden;
    });
    if (rest && words.length) rest.open = true;
    count.value = `${found} of ${articles.length} deviations`;
  };
  box.addEventListener("input", apply);
  box.form.addEventListener("submit", (event) => event.preventDefault());
  apply();
}

const redraws = [];

async function start() {
  const index = await openIndex();
  const controls = Object.fromEntries(FILTERS.map((name) => [name, document.getElementById(`f-${name}`)]));
  controls.count = document.getElementById("f-count");
  const matrix = new Matrix(index, document.getElementById("matrix"), controls);
  const page = new CasePage(index, matrix, document.getElementById("view-case"));
  const views = [...document.querySelectorAll(".view")];
  let shown = "", scrolled = 0;

  const route = async () => {
    const query = new URLSearchParams(location.hash.slice(1));
    const id = query.get("case");
    let view = id !== null ? "case" : query.get("view") || "overview";
    if (!document.getElementById(`view-${view}`)) view = "overview";
    if (view === "matrix") {
      for (const name of FILTERS) {
        const wanted = query.get(name) || "";
        controls[name].value = wanted;
        if (controls[name].value !== wanted) controls[name].value = "";
      }
      page.back = location.hash;
    }
    if (shown === "matrix" && view !== "matrix") scrolled = matrix.node.scrollTop;
    if (id !== null) await page.open(id, query.get("target"));
    for (const section of views) section.hidden = section.id !== `view-${view}`;
    document.documentElement.dataset.program = "";
    for (const link of document.querySelectorAll("nav a")) {
      const here = link.dataset.view === (view === "case" ? "matrix" : view);
      if (here) {
        link.setAttribute("aria-current", "page");
        link.scrollIntoView({ block: "nearest", inline: "nearest" });
      } else link.removeAttribute("aria-current");
    }
    if (view === "matrix") {
      matrix.apply();
      if (shown && shown !== "matrix") { matrix.node.scrollTop = scrolled; matrix.paint(true); }
    } else if (query.get("at") && document.getElementById(query.get("at"))) {
      const place = document.getElementById(query.get("at"));
      for (let around = place.closest("details"); around; around = around.parentElement.closest("details")) around.open = true;
      place.hidden = false;
      place.scrollIntoView();
    } else if (shown !== view || view === "case") {
      scrollTo(0, 0);
    }
    if (view === "case" && shown && shown !== "case") page.node.querySelector("h1").focus({ preventScroll: true });
    if (view === "training" && !redraws.length) drawTraining(index.training);
    document.title = id !== null ? `${id}, conformance report` : "Conformance report";
    shown = view;
    document.documentElement.dataset.shown = view;
  };

  const filtered = () => {
    const query = new URLSearchParams({ view: "matrix" });
    for (const name of FILTERS) if (controls[name].value) query.set(name, controls[name].value);
    history.replaceState(null, "", `#${query}`);
    page.back = location.hash;
    matrix.node.scrollTop = 0;
    matrix.at = [0, 0];
    matrix.apply();
  };
  for (const name of FILTERS) controls[name].addEventListener("input", filtered);
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  if (document.getElementById("d-q")) filterDeviations(document.getElementById("d-q"), document.getElementById("d-count"));

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "/" && !typing) {
      event.preventDefault();
      if (shown !== "matrix") location.hash = page.back;
      setTimeout(() => controls.q.focus(), 0);
    } else if (event.key === "Escape" && shown === "case") {
      location.hash = page.back;
    } else if (event.key === "Escape" && event.target === controls.q) {
      controls.q.value = "";
      filtered();
    } else if ((event.key === "ArrowDown" || event.key === "Enter") && event.target === controls.q) {
      event.preventDefault();
      matrix.node.focus();
    } else if ((event.key === "j" || event.key === "k") && !typing && shown === "case") {
      const button = document.getElementById(`go-${event.key}`);
      if (button) button.click();
    }
  });

  // The address belongs to the views.
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    document.getElementById("content").focus();
  });

  const theme = document.getElementById("theme");
  const themes = ["", "light", "dark"];
  const kept = { get: () => { try { return localStorage.getItem("conformance-theme") || ""; } catch { return ""; } }, set: (v) => { try { localStorage.setItem("conformance-theme", v); } catch { /* kept for this page alone */ } } };
  const dress = (name) => {
    if (name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    theme.setAttribute("aria-label", `Theme: ${name || "as the system has it"}`);
    theme.title = theme.getAttribute("aria-label");
    if (shown === "case" && page.case) page.draw(index.ids[page.place]);
    redraws.forEach((redraw) => redraw());
  };
  dress(themes.includes(kept.get()) ? kept.get() : "");
  theme.addEventListener("click", () => {
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme || "") + 1) % 3];
    kept.set(next);
    dress(next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dress(document.documentElement.dataset.theme || ""));

  addEventListener("hashchange", route);
  await route();
  document.documentElement.dataset.ready = Math.round(performance.now());
}

start();

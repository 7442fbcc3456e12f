"use strict";
// All text lands through textContent or as an attribute that is no program: what agents wrote stays text.
const SVG = "http://www.w3.org/2000/svg";
const runs = new Map();

function make(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children.map(child => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return node;
}

const percent = x => `${Math.round(100 * x)} %`;
const count = x => Number(x).toLocaleString("en-US");
function duration(s) {
  s = Math.max(0, Math.round(s));
  const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  return h ? `${h}h ${String(m).padStart(2, "0")}m` : m ? `${m}m ${String(s % 60).padStart(2, "0")}s` : `${s}s`;
}
const rate = r => (r ? `${percent(r[0])} [${Math.round(100 * r[1])}, ${Math.round(100 * r[2])}]` : "none");

// -- a run's place in the page ---------------------------------------------------------------------------------------
function runOf(number) {
  if (runs.has(number)) return runs.get(number);
  const part = (title, kind, wide) => {
    const body = make("div", { class: kind });
    return [make("section", { class: `card${wide ? " wide" : ""}`, "aria-label": title }, make("h3", {}, title), body), body];
  };
  const [climbCard, climb] = part("Hill climb", "climb"), [membersCard, members] = part("Members", "who");
  const [ideasCard, ideas] = part("Ideas", "tree", true), [robotsCard, robots] = part("Robots", "cells", true);
  const [logCard, log] = part("Log", "lines", true);
  const run = {
    number, climb, members, ideas, robots, log, data: {}, chosen: null,
    title: make("h2", {}, "reading"), lead: make("p", { class: "lead" }), error: make("p", { class: "error", hidden: "" }),
    tiles: make("dl", { class: "tiles" }),
  };
  run.section = make("section", { class: "run", id: `run-${number}` }, run.title, run.lead, run.error,
    make("div", { class: "grid" }, run.tiles, climbCard, membersCard, robotsCard, ideasCard, logCard));
  run.link = make("a", { href: `#run-${number}` }, "a run");
  runs.set(number, run);
  return run;
}

// -- sections --------------------------------------------------------------------------------------------------------
const draw = {
  head(run, d) {
    run.title.textContent = d.name;
    run.link.textContent = d.name;
    run.lead.textContent = `${d.agent} on ${d.env}: ${d.phase}` + (d.read[0] < d.read[1] ? `, read ${count(d.read[0])} of ${count(d.read[1])} events` : "");
    const tile = (name, value, note = "", share = null) => {
      const dd = make("dd", {}, value, make("small", {}, note));
      if (share !== null) dd.append(make("meter", { min: 0, max: 1, value: Math.min(1, share), "aria-label": `${name}, used` }));
      return make("div", {}, make("dt", {}, name), dd);
    };
    const of = (used, all, words) => (all ? `of ${words(all)}` : "");
    run.tiles.replaceChildren(
      tile("confirmed best", d.confirmed ? percent(d.confirmed[0]) : "none", d.confirmed ? `${rate(d.confirmed)}, ${d.confirmed[3]} episodes` : ""),
      tile("best single", d.raw ? percent(d.raw[0]) : "none", "flatters itself"),
      ...(d.average === null ? [] : [tile("team average", percent(d.average), "of members' own bests")]),
      tile("research time", duration(d.t), of(d.t, d.budget_s, duration), d.budget_s ? d.t / d.budget_s : null),
      tile("robot time", duration(d.robot_s), of(d.robot_s, d.robot_budget_s, duration), d.robot_budget_s ? d.robot_s / d.robot_budget_s : null),
      tile("tokens", count(d.tokens), `${of(d.tokens, d.token_budget, count)} ${count(d.calls)} calls`.trim(), d.token_budget ? d.tokens / d.token_budget : null),
      tile("episodes", count(d.episodes), `${count(d.evaluations)} batches, ${count(d.ideas)} ideas`),
      ...(d.held_out[1] ? [tile("held-out", `${d.held_out[0]} of ${d.held_out[1]}`, d.held_out[2] ? `${d.held_out[2]} starts in all` : "")] : []));
    if (run.data.climb) draw.climb(run, run.data.climb);
    if (run.data.ideas) draw.ideas(run, run.data.ideas);
  },

  climb(run, d) {
    const W = 620, H = 260, left = 42, right = 10, top = 10, bottom = 26, head = run.data.head || {};
    const span = Math.max(head.t || 0, head.phase === "finished" ? 0 : head.budget_s || 0, 1);
    const x = t => left + (W - left - right) * Math.min(1, t / span), y = v => top + (H - top - bottom) * (1 - v);
    const svg = make("svg:svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": "success rate over research time" });
    for (const v of [0, 0.25, 0.5, 0.75, 1]) {
      svg.append(make("svg:path", { class: "axis", d: `M${left} ${y(v)}H${W - right}` }), make("svg:text", { class: "end", x: left - 5, y: y(v) + 4 }, percent(v)));
    }
    for (let k = 0; k <= 4; k++) svg.append(make("svg:text", { class: k === 4 ? "end" : "mid", x: x((span * k) / 4), y: H - 8 }, duration((span * k) / 4)));
    const end = x(head.t || 0);
    const steps = (points, at) => points.map((p, k) => `${k ? "H" : "M"}${x(p[0])}${k ? "V" : " "}${y(p[at])}`).join("") + `H${end}`;
    if (d.confirmed.length) {
      const back = [];
      for (let k = d.confirmed.length - 1; k >= 0; k--) back.push(`V${y(d.confirmed[k][2])}H${x(d.confirmed[k][0])}`);
      svg.append(make("svg:path", { class: "band", d: steps(d.confirmed, 3) + back.join("") + "Z" }));
    }
    for (const [name, at] of [["raw", 1], ["average", 1], ["confirmed", 1]]) if (d[name].length) svg.append(make("svg:path", { class: name, d: steps(d[name], at) }));
    for (const [t, value, n, id, purpose, agent] of d.evaluations) {
      svg.append(make("svg:circle", { class: `dot ${purpose === "confirm" ? "confirm" : ""}`, cx: x(t), cy: y(value), r: 3.5 },
        make("svg:title", {}, `${id} ${purpose} by ${agent}: ${percent(value)} of ${n} episodes, after ${duration(t)}`)));
    }
    run.climb.replaceChildren(svg, make("p", { class: "legend" },
      `Line: confirmed best with its 95 % interval; dashed: best single evaluation${d.average.length ? "; green: team average" : ""}. Dots: evaluations, filled where they confirm.`));
  },

  ideas(run, d) {
    if (!d.ideas.length) return run.ideas.replaceChildren(make("p", { class: "legend" }, "No idea yet."));
    const focused = run.ideas.contains(document.activeElement) ? document.activeElement.getAttribute("data-idea") : null;
    const W = 1240, lane = 52, left = 120, right = 20, head = run.data.head || {};
    const span = Math.max(head.t || 0, head.phase === "finished" ? 0 : head.budget_s || 0, 1), H = d.lanes.length * lane + 34;
    const x = t => left + (W - left - right) * Math.min(1, t / span), y = k => 16 + lane * k + lane / 2 - 8;
    const svg = make("svg:svg", { viewBox: `0 0 ${W} ${H}`, role: "group", "aria-label": "idea tree: a lane a member, over research time" });
    d.lanes.forEach((name, k) => svg.append(make("svg:path", { class: "lane", d: `M${left} ${y(k)}H${x(head.t || span)}` }),
      make("svg:text", { x: 4, y: y(k) + 4 }, name.length > 16 ? `${name.slice(0, 15)}…` : name)));
    const place = d.ideas.map(i => [x(i.t), y(i.lane) + 8 * i.row]);
    for (const [from, to, how] of d.edges) {
      const [a, b] = place[from], [c, e] = place[to], middle = (a + c) / 2, bend = b === e ? 14 : 0;
      const kind = how === "parent" ? "" : how === "said" || how === "declared" ? "other said" : "other";
      svg.append(make("svg:path", { class: `edge ${kind}`, d: `M${a} ${b}C${middle} ${b + bend} ${middle} ${e + bend} ${c} ${e}` }));
    }
    const detail = make("div", { class: "detail", "aria-live": "polite" });
    const of = pair => (pair ? `${pair[0]} of ${pair[1]}` : "not yet");
    const show = id => {
      const i = d.ideas.find(idea => idea.id === id);
      run.chosen = i ? id : null;
      for (const dot of svg.querySelectorAll(".idea")) dot.classList.toggle("chosen", dot.getAttribute("data-idea") === run.chosen);
      detail.replaceChildren(...(i ? [
        make("p", {}, make("b", {}, `${i.id} `), i.title),
        make("p", { class: "legend" }, [d.lanes[i.lane], `after ${duration(i.t)}`, i.regime, i.parent && `refines ${i.parent}`].filter(Boolean).join(", ")),
        make("p", {}, `evaluated ${of(i.evaluated)}; confirmed ${of(i.confirmed)}; practised ${i.practised} episodes${i.open ? "; under way now" : ""}`),
        ...(i.learned ? [make("p", {}, `Learnt: ${i.learned}`)] : [])] : [make("p", { class: "legend" }, "Choose an idea (mouse, finger, or Tab and Enter; arrows go on) to read about it.")]));
    };
    const dots = d.ideas.map((i, k) => {
      const dot = make("svg:g", { class: `idea${i.confirmed ? " sure" : ""}${i.open ? " open" : ""}`, tabindex: k === d.ideas.length - 1 ? 0 : -1, role: "button", "aria-label": `${i.id} ${i.title}` },
        make("svg:title", {}, `${i.id} ${i.title}`), make("svg:circle", { cx: place[k][0], cy: place[k][1], r: 6 }));
      dot.setAttribute("data-idea", i.id);
      dot.addEventListener("click", () => show(i.id));
      dot.addEventListener("keydown", event => {
        const to = { ArrowLeft: k - 1, ArrowRight: k + 1, Home: 0, End: d.ideas.length - 1 }[event.key];
        if (event.key === "Enter" || event.key === " ") show(i.id);
        else if (event.key === "Escape") show(null);
        else if (to === undefined) return;
        else if (dots[to]) { dots[to].focus(); show(d.ideas[to].id); }
        event.preventDefault();
      });
      return dot;
    });
    svg.append(...dots);
    for (let k = 0; k <= 4; k++) svg.append(make("svg:text", { class: k === 4 ? "end" : "mid", x: x((span * k) / 4), y: H - 6 }, duration((span * k) / 4)));
    const kept = run.ideas.querySelector(".scroll"), scrolled = kept ? kept.scrollLeft : 0;
    const scroll = make("div", { class: "scroll" }, svg);
    run.ideas.replaceChildren(scroll, detail, make("p", { class: "legend" },
      `Filled: confirmed; red: under way. Grey: refines; red: has it from another, dashed where that is only said.${d.left_out ? ` ${count(d.left_out)} earlier ideas are left out.` : ""}`));
    scroll.scrollLeft = scrolled;
    show(run.chosen);
    if (focused !== null) dots[d.ideas.findIndex(i => i.id === focused)]?.focus({ preventScroll: true });
  },

  members(run, d) {
    run.members.replaceChildren(make("ul", { class: "members" }, ...d.map(m => make("li", { class: m.at_work ? "on" : "" },
      make("b", {}, m.name), m.doing, make("small", {}, `since ${duration(m.since)} of research`), ...(m.idea ? [make("small", {}, m.idea)] : []),
      make("small", {}, `${m.confirmed ? percent(m.confirmed[0]) + " confirmed" : "none confirmed"}, ${count(m.ideas)} ideas, ${count(m.episodes)} episodes, ${duration(m.robot_s)} of robots, ${count(m.tokens)} tokens in ${count(m.calls)} calls`)))));
  },

  robots(run, d) {
    if (!d.length) return run.robots.replaceChildren(make("p", { class: "legend" }, "No robot has moved yet."));
    let list = run.robots.querySelector("ul");
    if (!list || list.children.length !== d.length) {
      list = make("ul", { class: "robots" }, ...d.map(() => make("li", {}, make("figure", {}, "no picture"), make("p"), make("p", {}, make("small", { class: "age" })))));
      run.robots.replaceChildren(list);
    }
    d.forEach((r, k) => {
      const [figure, words, age] = list.children[k].children;
      words.replaceChildren(make("b", { class: r.busy ? "busy" : "idle" }, r.name), ` ${r.words}, by ${r.agent}`);
      age.firstChild.setAttribute("data-taken", r.frame ?? "");
      if (r.frame === null || figure.dataset.taken === String(r.frame)) return;
      figure.dataset.taken = String(r.frame);
      const picture = make("img", { alt: `newest picture of ${r.name}`, src: `frame/${run.number}/${k}?t=${r.frame}` });
      picture.addEventListener("load", () => figure.replaceChildren(picture));
    });
    ages();
  },

  log(run, d) {
    let list = run.log.querySelector("ol");
    if (!list) run.log.append(list = make("ol", { class: "log", tabindex: 0, "aria-label": "log, newest first" }));
    const at = list.scrollTop;
    list.replaceChildren(...[...d].reverse().map(([t, who, words]) => make("li", {}, make("span", {}, duration(t)), make("span", {}, who), make("span", {}, words))));
    list.scrollTop = at;
  },

  error(run, d) {
    run.error.textContent = d;
    run.error.hidden = false;
  },
};

function ages() {
  for (const node of document.querySelectorAll(".age")) {
    const taken = Number(node.getAttribute("data-taken"));
    node.textContent = taken ? `picture ${duration(Date.now() / 1000 - taken)} old` : "";
  }
}

// -- following -------------------------------------------------------------------------------------------------------
const link = document.getElementById("link");
let source = null;

function follow() {
  source = new EventSource("events");
  source.addEventListener("runs", event => {
    for (let k = 0; k < Number(event.data); k++) runOf(k);
    document.getElementById("main").replaceChildren(...[...runs.values()].map(run => run.section));
    document.getElementById("runs").replaceChildren(...(runs.size > 1 ? [...runs.values()].map(run => run.link) : []));
  });
  source.onopen = () => { link.textContent = "live"; };
  source.onerror = () => { link.textContent = "the server is gone (its run may be over); what was last known is below. autoenvbench watch RUN opens it again"; };
  source.onmessage = event => {
    const { run, section, data } = JSON.parse(event.data);
    const place = runOf(run);
    place.data[section] = data;
    draw[section](place, data);
  };
}

// A page that nobody sees asks for nothing, and so costs the run nothing.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && source) { source.close(); source = null; link.textContent = "asleep"; }
  else if (!document.hidden && !source) follow();
});
setInterval(ages, 1000);
if (!document.hidden) follow();

"use strict";
// All films of the chosen start show the same moment. ?episode=ood-2&t=6.4 chooses a start and a moment.
const [play, time, now, link] = ["play", "time", "now", "link"].map((id) => document.getElementById(id));
const sections = [...document.querySelectorAll("section")];
let [chosen, at, since] = [0, 0, null]; // the start, its moment [s], and the clock when it last moved; null: it stands

function draw(section, t) {
  for (const canvas of section.querySelectorAll("canvas")) {
    const { frames, across, seconds } = canvas.dataset;
    const sheet = canvas.nextElementSibling;
    const k = Math.min(frames - 1, Math.round(Math.min(1, t / Math.max(seconds, 1e-9)) * (frames - 1)));
    const [w, h] = [canvas.width, canvas.height];
    canvas.dataset.shown = k;
    if (sheet.complete) canvas.getContext("2d").drawImage(sheet, (k % across) * w, Math.floor(k / across) * h, w, h, 0, 0, w, h);
  }
  const mark = section.querySelector(".now");
  mark.setAttribute("transform", `translate(${section.dataset.wide * Math.min(1, t / Math.max(section.dataset.seconds, 1e-9))})`);
}

function show() {
  draw(sections[chosen], at);
  time.value = at;
  now.textContent = `${at.toFixed(1)} s`;
  link.href = `?episode=${sections[chosen].id}&t=${at.toFixed(1)}`;
}

function choose(k, t = 0) {
  chosen = Math.max(0, Math.min(sections.length - 1, k));
  sections.forEach((section, other) => section.classList.toggle("chosen", other === chosen));
  time.max = sections[chosen].dataset.seconds;
  at = Math.max(0, Math.min(Number(time.max), t));
  show();
}

function tick(clock) {
  if (since === null) return;
  at += (clock - since) / 1000;
  since = clock;
  if (at >= Number(time.max)) {
    at = Number(time.max);
    stop();
  }
  show();
  requestAnimationFrame(tick);
}

function stop() {
  since = null;
  play.textContent = "Play";
}

function start() {
  if (at >= Number(time.max)) at = 0;
  play.textContent = "Pause";
  since = performance.now();
  requestAnimationFrame(tick);
}

function seek(t) {
  stop();
  at = Math.max(0, Math.min(Number(time.max), t));
  show();
}

play.addEventListener("click", () => (since === null ? start() : stop()));
time.addEventListener("input", () => seek(Number(time.value)));
sections.forEach((section, k) => {
  section.addEventListener("click", () => k !== chosen && choose(k));
  section.addEventListener("focus", () => k !== chosen && choose(k));
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const step = { ArrowRight: 0.2, ArrowLeft: -0.2 }[event.key];
  const other = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (event.key === " " && event.target !== play && event.target !== link) play.click();
  else if (step && event.target !== time) seek(at + step);
  else if (other && event.target !== time) {
    const section = sections[Math.max(0, Math.min(sections.length - 1, chosen + other))];
    section.focus();
    section.scrollIntoView({ block: "nearest" });
  } else return;
  event.preventDefault();
});

const asked = new URLSearchParams(location.search);
addEventListener("load", () => {
  sections.forEach((section) => draw(section, Number(section.dataset.seconds))); // each as it ended, until it is chosen
  const k = sections.findIndex((section) => section.id === asked.get("episode"));
  choose(Math.max(0, k), Number(asked.get("t")) || 0);
  if (k >= 0) sections[k].scrollIntoView();
});

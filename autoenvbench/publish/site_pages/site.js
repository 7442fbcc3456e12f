"use strict";
// Tables are whole and in their order without this; it sorts them, filters them and puts two rows side by side. All text is set as text.
const collator = new Intl.Collator("en", { numeric: true });

function sortBy(table, column, down) {
  const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
  const rows = [...table.tBodies[0].rows];
  const empty = (text) => text === "" || text === "-";
  rows.sort((one, two) => {
    const [a, b] = [value(one), value(two)];
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    return (down ? -1 : 1) * (isNaN(a) || isNaN(b) ? collator.compare(a, b) : a - b);
  });
  table.tBodies[0].append(...rows);
  for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
  table.tHead.rows[0].cells[column].setAttribute("aria-sort", down ? "descending" : "ascending");
}

for (const table of document.querySelectorAll("table.rows")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent.trim();
    head.replaceChildren(button);
    button.addEventListener("click", () => sortBy(table, column, head.getAttribute("aria-sort") !== "descending"));
  });
}

for (const form of document.querySelectorAll(".filter")) {
  const [words, status, count] = [form.querySelector("input"), form.querySelector("select"), form.querySelector("output")];
  if (!words) continue;
  form.hidden = false;
  const apply = () => {
    const wanted = words.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const row of document.querySelectorAll("table.rows tbody tr")) {
      const text = row.textContent.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word)) || (status.value !== "" && row.dataset.status !== status.value);
      shown += !row.hidden;
    }
    count.textContent = shown === 1 ? "1 row" : `${shown} rows`;
  };
  words.addEventListener("input", apply);
  status.addEventListener("change", apply);
  apply();
}

const two = document.querySelector("#two");
if (two) {
  const source = document.querySelector("table.rows");
  const [one, other, told, body] = ["#one", "#other", "#told", "#two tbody"].map((name) => document.querySelector(name));
  const heads = [...source.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
  const rows = [...source.tBodies[0].rows];
  for (const [k, select] of [one, other].entries()) {
    select.replaceChildren(...rows.map((row) => new Option(row.dataset.name, row.id)));
    select.selectedIndex = Math.min(k, rows.length - 1);
  }
  const show = () => {
    const pair = [one, other].map((select) => document.getElementById(select.value));
    if (!pair[0] || !pair[1]) return;
    body.replaceChildren(...heads.map((head, k) => {
      const line = document.createElement("tr");
      const name = document.createElement("th");
      name.scope = "row";
      name.textContent = head;
      line.append(name, ...pair.map((row) => {
        const cell = document.createElement("td");
        cell.append(...[...row.cells[k].childNodes].map((node) => node.cloneNode(true)));
        return cell;
      }));
      return line;
    }));
    const [a, b] = pair.map((row) => row.dataset);
    const shared = [...a.ties].some((letter) => b.ties.includes(letter));
    told.textContent = pair[0] === pair[1] ? "The same row twice: choose another."
      : a.board !== b.board ? "Not comparable: different environments, or versions of one."
      : a.conditions !== b.conditions ? "Not comparable: the same environment under different conditions."
      : !a.ties || !b.ties ? "Not compared: only rows that are both verified and ranked are tested against one another."
      : shared ? "Tied: at the runs that there are, these two cannot be told apart." : "They differ, beyond their spread.";
    history.replaceState(null, "", `#${one.value},${other.value}`);
  };
  const read = () => {
    const named = location.hash.slice(1).split(",");
    [one, other].forEach((select, k) => { if (rows.some((row) => row.id === named[k])) select.value = named[k]; });
    show();
  };
  for (const select of [one, other]) select.addEventListener("change", show);
  window.addEventListener("hashchange", read);
  document.querySelector("#pair").hidden = false;
  document.querySelector("#every").open = false;
  read();
  window.scrollTo(0, 0); // a link names its row, to which the page has gone
}

// The report page's filter: buttons that leave the rows of one verdict. Without scripts all rows are shown.
(() => {
  const place = document.querySelector(".verdict-filter");
  if (!place) return;
  const verdictOf = (row) => row.querySelector("td strong")?.textContent;
  const rows = [];
  for (const row of document.querySelectorAll("article table tbody tr")) {
    if (row.closest("table").rows[0].cells.length !== 3) continue; // the counts, the runs
    const continues = row.cells[0].textContent.startsWith("– ") && !verdictOf(row); // a check of the entry above
    const verdict = continues ? rows.at(-1)?.verdict : verdictOf(row);
    if (verdict) rows.push({ row, verdict }); // numbers that the paper quotes have none
  }
  const verdicts = [...new Set(rows.map(({ verdict }) => verdict).filter(Boolean))];
  const buttons = document.createElement("div");
  buttons.setAttribute("role", "group");
  buttons.setAttribute("aria-label", "Show the rows of one verdict");
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  const show = (chosen) => {
    for (const { row, verdict } of rows) row.hidden = Boolean(chosen) && verdict !== chosen;
    for (const fold of document.querySelectorAll("article details")) {
      if (fold.querySelector("td strong")) fold.open = chosen === "not run";
    }
    for (const button of buttons.children) button.setAttribute("aria-pressed", String(button.value === chosen));
    const count = rows.filter(({ row, verdict }) => !row.hidden && verdictOf(row) === verdict).length;
    said.textContent = chosen ? ` ${count} entries are shown.` : "";
  };
  for (const verdict of ["", ...verdicts]) {
    const button = document.createElement("button");
    button.type = "button";
    button.value = verdict;
    button.textContent = verdict || "all";
    button.addEventListener("click", () => show(verdict));
    buttons.append(button);
  }
  place.append(buttons, said);
  show("");
})();

// Draws each canvas marked data-chart from the table that data-table names, by Chart.js.
// Figures are drawn from data-value; what is shown at a point is the table's own text.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function read(table) {
  const series = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent);
  const rows = [...table.tBodies[0].rows].map((row) => ({
    label: row.cells[0].textContent,
    cells: [...row.cells].slice(1),
  }));
  return { series, rows };
}

const number = (cell) => (cell.dataset.value === undefined ? null : Number(cell.dataset.value));

// An axis of whole things has no parts of one.
const precision = (rows) =>
  rows.some((row) => row.cells.some((cell) => cell.dataset.value?.includes("."))) ? undefined : 0;

// A waterfall is a bar from the sum so far to the sum after the step; its ends stand on zero.
function waterfall(rows) {
  let sum = 0;
  return rows.map((row, at) => {
    const value = number(row.cells[0]);
    if (at === 0 || at === rows.length - 1) {
      sum = value;
      return { range: [0, value], colour: colour("--ink-soft") };
    }
    const range = [sum, sum + value];
    sum += value;
    return { range, colour: colour(value < 0 ? "--falls" : "--rises") };
  });
}

// Steps of a large total would be lines on an axis that begins at zero.
function lowest(kind, rows) {
  if (kind !== "waterfall") return undefined;
  const levels = waterfall(rows).flatMap((step, at, all) =>
    at === 0 || at === all.length - 1 ? step.range[1] : step.range,
  );
  const [low, high] = [Math.min(...levels), Math.max(...levels)];
  return low > 0 && low > high / 2 ? low - (high - low || low / 10) / 2 : undefined;
}

function datasets(kind, { series, rows }, stepped) {
  if (kind === "waterfall") {
    const steps = waterfall(rows);
    return [
      {
        label: series[0],
        data: steps.map((step) => step.range),
        backgroundColor: steps.map((step) => step.colour),
      },
    ];
  }
  return series.map((label, at) => ({
    label,
    data: rows.map((row) => number(row.cells[at])),
    borderColor: colour(`--series-${(at % 6) + 1}`),
    backgroundColor: colour(`--series-${(at % 6) + 1}`),
    borderWidth: kind === "line" ? 2 : 0,
    pointRadius: rows.length > 40 ? 0 : 2.5,
    stepped: stepped ? "before" : false,
    spanGaps: false,
  }));
}

function draw(canvas) {
  const table = document.getElementById(canvas.dataset.table);
  const kind = canvas.dataset.chart;
  const data = read(table);
  const grid = { color: colour("--edge") };
  const ticks = { color: colour("--ink-soft") };
  const locale = document.documentElement.lang;
  const short = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 2 });
  return new Chart(canvas, {
    type: kind === "line" ? "line" : "bar",
    data: {
      labels: data.rows.map((row) => row.label),
      datasets: datasets(kind, data, "stepped" in canvas.dataset),
    },
    options: {
      locale,
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      scales: {
        x: {
          stacked: kind === "stacked",
          grid: { display: false },
          ticks: { ...ticks, maxRotation: 0, autoSkipPadding: 12 },
        },
        y: {
          min: lowest(kind, data.rows),
          stacked: kind === "stacked",
          grid,
          ticks: { ...ticks, precision: precision(data.rows), callback: (value) => short.format(value) },
        },
      },
      plugins: {
        legend: { display: data.series.length > 1, labels: { color: colour("--ink") } },
        tooltip: {
          callbacks: {
            label: (item) =>
              `${item.dataset.label}: ${data.rows[item.dataIndex].cells[item.datasetIndex].textContent}`,
          },
        },
      },
    },
  });
}

let drawn = [];
function drawAll() {
  for (const chart of drawn) chart.destroy();
  drawn = [...document.querySelectorAll("canvas[data-chart]")].map(draw);
}
drawAll();
dark.addEventListener("change", drawAll);
matchMedia("print").addEventListener("change", drawAll); // paper is light

// Charts, declared in the page:
//   <div class="chart" id="revenue" data-chart="bars" data-source="revenue-data" role="img" aria-label="…"></div>
//   {{ revenue|json_script:"revenue-data" }}
// The data: {"labels": ["1 Nov", …], "series": [{"name": "Email", "values": [3, …], "color": "email"}, …],
//            "unit": "EUR"}    unit: a currency in minor units ("EUR"), "percent" (of 1), or nothing
// Kinds: bars (stacked), columns (side by side), lines, area, rows (horizontal bars).
// <button data-chart-table="revenue" aria-pressed="false"> shows the same numbers as a table.

const FONT = { fontFamily: "Inter, system-ui, sans-serif", fontSize: 12 };
const COLORS = ["email", "sms", "push", "store", "whatsapp", "ads", "web", "phone"];
const language = document.documentElement.lang || "en";

/** The colour a token has now, in this theme. */
function token(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

function palette() {
  const texts = ["text", "text-2", "text-3"];
  const surfaces = ["line", "surface", "raised"];
  const states = ["accent-solid", "ok-solid", "warn-solid", "bad-solid"];
  const channels = COLORS.map((name) => `c-${name}`);
  return Object.fromEntries([...texts, ...surfaces, ...states, ...channels].map((name) => [name, token(name)]));
}

function colorOf(series, index, colors) {
  const named = series.color && (colors[`c-${series.color}`] ?? colors[`${series.color}-solid`]);
  return named || colors[`c-${COLORS[index % COLORS.length]}`];
}

/** A function that writes a value for people; `isShort` is for axes. */
function formatter(unit, isShort) {
  const compact = isShort ? { notation: "compact", maximumFractionDigits: 1 } : {};
  if (!unit) return new Intl.NumberFormat(language, compact).format;
  if (unit === "percent") {
    return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 }).format;
  }
  const currency = { style: "currency", currency: unit };
  const money = new Intl.NumberFormat(language, { ...currency, ...compact });
  const digits = new Intl.NumberFormat(language, currency).resolvedOptions().maximumFractionDigits;
  return (minor) => money.format(minor / 10 ** digits);
}

function read(element) {
  return JSON.parse(document.getElementById(element.dataset.source).textContent);
}

function tooltip(colors, unit) {
  const format = formatter(unit);
  return {
    backgroundColor: colors.raised,
    borderColor: colors.line,
    borderWidth: 1,
    padding: [8, 12],
    textStyle: { color: colors.text, ...FONT },
    extraCssText: "border-radius: 10px; box-shadow: 0 12px 32px -8px rgb(0 0 0 / 0.28)",
    valueFormatter: (value) => (value == null ? "–" : format(value)),
  };
}

function category(labels, colors, isVertical) {
  return {
    type: "category",
    data: labels,
    inverse: isVertical,
    axisTick: { show: false },
    axisLine: { show: !isVertical, lineStyle: { color: colors.line } },
    axisLabel: { color: colors["text-3"], hideOverlap: true, ...FONT },
  };
}

function amount(unit, colors) {
  return {
    type: "value",
    splitNumber: 4,
    axisLabel: { color: colors["text-3"], hideOverlap: true, formatter: formatter(unit, true), ...FONT },
    splitLine: { lineStyle: { color: colors.line } },
  };
}

/** What all kinds share. */
function common(data, colors) {
  const hasLegend = data.series.length > 1;
  return {
    animationDuration: 400,
    textStyle: FONT,
    aria: { enabled: false }, // The page itself says what the chart shows.
    grid: { left: 4, right: 8, top: hasLegend ? 40 : 12, bottom: 4, containLabel: true },
    legend: {
      show: hasLegend,
      type: "scroll",
      left: 0,
      top: 0,
      icon: "roundRect",
      itemWidth: 9,
      itemHeight: 9,
      itemGap: 18,
      textStyle: { color: colors["text-2"], ...FONT },
      inactiveColor: colors.line,
      pageIconColor: colors["text-2"],
      pageTextStyle: { color: colors["text-3"], ...FONT },
    },
  };
}

function barSeries(data, colors, { isStacked, isVertical }) {
  const last = data.series.length - 1;
  return data.series.map((series, index) => {
    const isEnd = !isStacked || index === last;
    const rounded = isVertical ? [0, 3, 3, 0] : [3, 3, 0, 0];
    return {
      name: series.name,
      type: "bar",
      stack: isStacked ? "all" : undefined,
      data: series.values,
      barMaxWidth: isVertical ? 18 : 34,
      barCategoryGap: "38%",
      itemStyle: {
        color: colorOf(series, index, colors),
        borderColor: colors.surface,
        borderWidth: isStacked ? 0.6 : 0,
        borderRadius: isEnd ? rounded : 0,
      },
      emphasis: { focus: "series" },
    };
  });
}

function lineSeries(data, colors, isFilled) {
  return data.series.map((series, index) => ({
    name: series.name,
    type: "line",
    data: series.values,
    showSymbol: series.values.length < 2,
    symbolSize: 6,
    lineStyle: { width: 2 },
    color: colorOf(series, index, colors),
    areaStyle: isFilled ? { opacity: 0.1 } : undefined,
    emphasis: { focus: "series" },
  }));
}

function upright(data, colors, series, pointer) {
  return {
    ...common(data, colors),
    tooltip: { trigger: "axis", axisPointer: pointer, ...tooltip(colors, data.unit) },
    xAxis: category(data.labels, colors, false),
    yAxis: amount(data.unit, colors),
    series,
  };
}

function shadow(colors) {
  return { type: "shadow", shadowStyle: { color: colors.line, opacity: 0.45 } };
}

function hairline(colors) {
  return { type: "line", lineStyle: { color: colors["text-3"], type: "solid" } };
}

const KINDS = {
  bars: (data, colors) => upright(data, colors, barSeries(data, colors, { isStacked: true }), shadow(colors)),
  columns: (data, colors) => upright(data, colors, barSeries(data, colors, {}), shadow(colors)),
  lines: (data, colors) => upright(data, colors, lineSeries(data, colors, false), hairline(colors)),
  area: (data, colors) => upright(data, colors, lineSeries(data, colors, true), hairline(colors)),
  rows: (data, colors) => ({
    ...common(data, colors),
    tooltip: { trigger: "axis", axisPointer: shadow(colors), ...tooltip(colors, data.unit) },
    xAxis: amount(data.unit, colors),
    yAxis: category(data.labels, colors, true),
    series: barSeries(data, colors, { isStacked: data.series.length > 1, isVertical: true }),
  }),
};

const resizes = new ResizeObserver((entries) => {
  for (const { target } of entries) echarts.getInstanceByDom(target)?.resize();
});

function draw(element, colors) {
  const data = read(element);
  const chart = echarts.getInstanceByDom(element) ?? echarts.init(element, null, { renderer: "svg" });
  chart.setOption(KINDS[element.dataset.chart](data, colors), true);
  resizes.observe(element);
}

function drawAll(scope = document) {
  const colors = palette();
  for (const element of scope.querySelectorAll("[data-chart]")) draw(element, colors);
}

// --- the same numbers as a table ------------------------------------------------------------------

function cell(tag, text, isNumber) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (tag === "th") element.scope = "col";
  if (isNumber) element.className = "num";
  return element;
}

function tableOf(element) {
  const { labels, series, unit, label = "" } = read(element);
  const format = formatter(unit);
  const table = document.createElement("table");
  table.className = "table";
  table.createTHead().insertRow().append(cell("th", label), ...series.map(({ name }) => cell("th", name, true)));
  const body = table.createTBody();
  labels.forEach((name, row) => {
    const values = series.map(({ values }) => cell("td", values[row] == null ? "–" : format(values[row]), true));
    body.insertRow().append(cell("td", name), ...values);
  });
  return table;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-chart-table]");
  if (!button) return;
  const chart = document.getElementById(button.dataset.chartTable);
  const isTable = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(isTable));
  chart.parentElement.querySelector(".chart-table")?.remove();
  chart.hidden = isTable;
  if (!isTable) return;
  const box = document.createElement("div");
  box.className = "chart-table";
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", chart.getAttribute("aria-label"));
  box.append(tableOf(chart));
  chart.after(box);
});

document.fonts.ready.then(() => drawAll());
document.addEventListener("themechange", () => drawAll());
document.addEventListener("htmx:beforeCleanupElement", (event) => {
  if (event.target.matches?.("[data-chart]")) echarts.getInstanceByDom(event.target)?.dispose();
});
document.addEventListener("htmx:afterSettle", (event) => drawAll(event.detail.elt.parentElement ?? document));

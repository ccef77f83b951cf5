// Unpacks plotly, which stands in the page compressed, and draws the charts.
const old = document.getElementById("old");
if (typeof DecompressionStream === "undefined") { old.hidden = false; }
else {
  const bytes = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const charts = document.querySelectorAll("[data-figure]");
  for (const chart of charts) {
    const { data, layout } = figures[chart.dataset.figure];
    await Plotly.newPlot(chart, data, layout, { responsive: true, displayModeBar: false });
  }
  // A printer lays the page out after this event and shrinks all of it to the widest chart: so they are fitted to paper.
  addEventListener("beforeprint", () => charts.forEach((chart) => {
    Plotly.relayout(chart, { width: chart.closest(".panels") ? 330 : 680 });
  }));
  addEventListener("afterprint", () => charts.forEach((chart) => {
    Plotly.relayout(chart, { width: null, autosize: true });
  }));
  document.body.dataset.drawn = charts.length;
}

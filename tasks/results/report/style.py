"""The report's style sheet."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f7f6f3; --sheet: #ffffff; --ink: #1d1c1a; --quiet: #66625b; --line: #e4e1da;
  --accent: #b4451f; --good: #2f7d5b; --bad: #c23b33; --warn: #a96d08; --lost: #7a4fb0;
  --serif: ui-serif, "Iowan Old Style", "Palatino Linotype", Palatino, Georgia, serif;
  --sans: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #141312; --sheet: #1d1b19; --ink: #eeebe5; --quiet: #a39d93; --line: #34312d;
    --accent: #ec8257; --good: #55b58a; --bad: #f0736a; --warn: #e3ae4a; --lost: #b493e6;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.55 var(--sans);
  overflow-wrap: anywhere; }
main, header, footer, .contents { max-width: 1080px; margin: 0 auto; padding: 0 28px; }
header { padding-top: 44px; }
.brand { display: flex; align-items: center; gap: 10px; margin: 0 0 34px; font-size: 13px; color: var(--quiet); }
.brand b { color: var(--ink); font-weight: 600; letter-spacing: .02em; }
.brand i { width: 12px; height: 12px; border-radius: 50%; background: var(--accent); }
.brand code { margin-left: auto; }
h1 { margin: 0; font: 400 clamp(28px, 5vw, 46px)/1.14 var(--serif); letter-spacing: -.015em; text-wrap: balance; }
h1 .zero { color: var(--quiet); }
h1 .failed { color: var(--bad); } h1 .rejected { color: var(--warn); }
.lead { margin: 14px 0 0; color: var(--quiet); max-width: 68ch; overflow-wrap: anywhere; }
.lead strong { color: var(--ink); font-weight: 500; }
h2 { margin: 0 0 4px; font: 400 24px/1.25 var(--serif); letter-spacing: -.01em; }
h3, h4 { margin: 0; font-size: 14px; font-weight: 600; overflow-wrap: anywhere; }
h3.group { margin: 40px 0 16px; font: 400 18px/1.3 var(--serif); }
a { color: var(--accent); text-underline-offset: 3px; }
.about { margin: 0 0 20px; color: var(--quiet); max-width: 68ch; }
section { margin: 52px 0 0; }
.account { margin: 34px 0 0; }
svg { display: block; }
.bar { width: 100%; height: 20px; }
.account .bar { height: 22px; border-radius: 4px; overflow: hidden; }
.fill { fill: var(--accent); } .track { fill: var(--line); } .bar .quiet, .histogram .quiet { fill: var(--quiet); }
.bar [class^="c"], .histogram [class^="c"] { fill: var(--c); }
.processed { fill: var(--good); background: var(--good); } .failed { fill: var(--bad); }
.rejected { fill: var(--warn); } .unaccounted { fill: var(--lost); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 24px; margin: 12px 0 0; padding: 0; list-style: none; }
.legend li { display: flex; align-items: center; gap: 8px; color: var(--quiet); }
.legend b { color: var(--ink); font-weight: 600; font-variant-numeric: tabular-nums; }
.contents ul { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 22px 0 0; padding: 0; list-style: none; }
.contents a { color: var(--quiet); text-decoration-color: var(--line); } .contents a:hover { color: var(--accent); }
.legend svg { width: 10px; height: 10px; border-radius: 2px; }
.legend .sum { margin-left: auto; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 1px; margin: 34px 0 0;
  background: var(--line); border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
.figures div { background: var(--sheet); padding: 16px 18px; }
.figures dt { color: var(--quiet); font-size: 13px; }
.figures dd { margin: 2px 0 0; font: 400 26px/1.2 var(--serif); font-variant-numeric: lining-nums tabular-nums; }
.notes { margin: 28px 0 0; padding: 14px 18px; border-left: 3px solid var(--warn); background: var(--sheet);
  border-radius: 0 8px 8px 0; }
.notes p { margin: 0; } .notes p + p { margin-top: 6px; }
table { width: 100%; border-collapse: collapse; }
caption, .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
th, td { padding: 9px 16px 9px 0; text-align: left; vertical-align: middle; border-bottom: 1px solid var(--line);
  font-weight: 400; overflow-wrap: anywhere; }
thead th { color: var(--quiet); font-size: 13px; padding-top: 0; vertical-align: bottom; }
thead .number { white-space: normal; }
tbody th { font-weight: 500; min-width: 6.5em; } thead th { overflow-wrap: normal; }
.judged td { min-width: 4.2em; }
th:last-child, td:last-child { padding-right: 0; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
.wide { width: 34%; } .shares .wide { width: 44%; } .detail { color: var(--quiet); }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 30px 36px; }
.plots figure { margin: 0; }
.histogram { width: 100%; height: 60px; margin: 10px 0 4px; }
.ends { display: flex; justify-content: space-between; gap: 8px; color: var(--quiet); font-size: 13px;
  font-variant-numeric: tabular-nums; }
figcaption { margin-top: 6px; font-size: 13px; line-height: 1.4; overflow-wrap: anywhere; }
.reason { padding: 16px 0; border-bottom: 1px solid var(--line); }
.reason:first-of-type { border-top: 1px solid var(--line); }
.reason summary { display: flex; gap: 4px 14px; align-items: baseline; cursor: pointer; list-style: none; }
.reason summary::-webkit-details-marker { display: none; }
.reason summary::after { content: "+"; margin-left: auto; color: var(--quiet); font-size: 18px; line-height: 1; }
.reason[open] summary::after { content: "\\2212"; }
.reason .many { min-width: 56px; font: 400 22px/1 var(--serif); }
.reason .why { overflow-wrap: anywhere; }
.reason ul { margin: 12px 0 0; padding: 0 0 0 70px; color: var(--quiet); font: 13px/1.7 var(--mono);
  list-style: none; overflow-wrap: anywhere; }
.tag { font-size: 13px; color: var(--quiet); }
.tag::before { content: ""; display: inline-block; width: 8px; height: 8px; margin-right: 6px; border-radius: 50%;
  background: var(--bad); }
.tag.is-rejected::before { background: var(--warn); }
code, pre { font: 13px/1.6 var(--mono); }
pre { margin: 0 0 24px; padding: 14px 18px; background: var(--sheet); border: 1px solid var(--line);
  border-radius: 8px; white-space: pre-wrap; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); gap: 0 48px;
  margin: 0; }
.facts div { display: flex; gap: 16px; padding: 8px 0; border-bottom: 1px solid var(--line); }
.facts dt { flex: 0 0 108px; color: var(--quiet); } .facts dd { margin: 0; overflow-wrap: anywhere; }
footer { margin-top: 60px; padding-bottom: 44px; color: var(--quiet); font-size: 13px; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 4px; }
.alarm { padding: 20px 24px 8px; border: 1px solid var(--bad); border-left-width: 6px; border-radius: 8px;
  background: var(--sheet); }
.alarm h2 { color: var(--bad); } .alarm tr:last-child > * { border-bottom: 0; }
.mark { display: inline-block; white-space: nowrap; font-weight: 600; }
.mark::before { margin-right: 6px; }
.is-good { color: var(--good); } .is-good.mark::before { content: "\\2713"; }
.is-bad { color: var(--bad); } .is-bad.mark::before { content: "\\2717"; }
.is-open { color: var(--quiet); font-weight: 400; }
.compared .mark { margin-left: 8px; } .compared + .shares { margin-top: 34px; }
.commands p { margin: 0 0 8px; color: var(--quiet); }
@media (max-width: 620px) {
  main, header, footer, .contents { padding-left: 18px; padding-right: 18px; }
  header { padding-top: 24px; } .brand { margin-bottom: 24px; } section { margin-top: 42px; }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .figures div:last-child:nth-child(odd) { grid-column: 1 / -1; }
  .legend .sum { margin-left: 0; flex-basis: 100%; }
  .wide { display: none; }
  table { font-size: 13px; } thead th { font-size: 12px; } th, td { padding-right: 8px; }
  tbody th { min-width: 4.8em; } .steps tbody th, .compared tbody th { min-width: 6em; }
  .steps td { min-width: 3.4em; } .judged td { min-width: 3.2em; }
  .alarm { padding: 16px 14px 4px; } .compared .mark { margin-left: 0; }
  .reason summary { flex-wrap: wrap; gap: 4px 12px; } .reason ul { padding-left: 0; }
  .reason .why { flex-basis: 100%; order: 3; }
}
@media print {
  body { background: #fff; } .contents { display: none; } figure, tr, .reason { break-inside: avoid; }
}
"""

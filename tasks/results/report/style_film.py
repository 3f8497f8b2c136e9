"""The style of the contact sheet, which is dark in both schemes, and of the larger view of its pictures."""

FILM_STYLE = """
.film, .shot:target { color-scheme: dark; --ink: #f3efe8; --quiet: #b3aca1; --line: #37322d; --accent: #ff9a70;
  background: #121010; color: var(--ink); }
.film { border-radius: 10px; padding: 22px; }
@media (prefers-color-scheme: dark) { .film { background: #0b0a0a; box-shadow: 0 0 0 1px var(--line); } }
.c0 { --c: #ffb02e; } .c1 { --c: #35c9e8; } .c2 { --c: #9be15d; } .c3 { --c: #ff7eb6; } .c4 { --c: #b69cff; }
.c5 { --c: #ff8a5c; } .c6 { --c: #3fe0b0; } .c7 { --c: #f5e050; } .c8 { --c: #7db8ff; } .c9 { --c: #d8cbe8; }
.swatch { display: inline-block; width: 11px; height: 11px; margin-right: 8px; border-radius: 3px;
  background: var(--c); box-shadow: inset 0 0 0 1px rgb(0 0 0 / .35); }
.classes-drawn { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 0 0 18px; padding: 0; list-style: none;
  font-size: 13px; color: var(--quiet); }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 22px 18px; margin: 0;
  padding: 0; list-style: none; }
.sheet li { min-width: 0; }
.shot { position: relative; }
.shot h3, .shot h4 { margin: 0; font-size: 13px; line-height: 1.4; font-weight: 500; }
.shot h3 { display: flex; align-items: baseline; gap: 8px; }
.place { flex: none; color: var(--accent); font: 12px/1 var(--mono); }
.found { margin: 0; font-size: 13px; line-height: 1.4; color: var(--quiet); }
.told { margin-top: 9px; }
.frame { display: grid; place-items: center; container-type: size; aspect-ratio: 4 / 3; overflow: hidden;
  background: #060505; border-radius: 4px; }
.picture { position: relative; width: min(100cqw, 100cqh * var(--w) / var(--h));
  aspect-ratio: var(--w) / var(--h); }
.picture img { display: block; width: 100%; height: 100%; }
.boxes { position: absolute; inset: 0; width: 100%; height: 100%; overflow: hidden; }
.boxes path { fill: none; stroke: var(--c); stroke-width: 2px; stroke-linejoin: round; stroke-linecap: round;
  vector-effect: non-scaling-stroke; pointer-events: all; }
.boxes g { filter: drop-shadow(0 0 1.5px #000); }
.boxes .outline { fill: var(--c); fill-opacity: .22; }
.boxes .faint { stroke-width: 1px; stroke-opacity: .7; stroke-dasharray: 3 3; }
.boxes .dots { stroke-width: 6px; }
.labels { position: absolute; inset: 0; overflow: hidden; pointer-events: none; }
.labels span { position: absolute; padding: 0 4px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  background: var(--c); color: #14110d; font: 600 11px/15px var(--sans); border-radius: 2px; }
.labels .above { translate: 0 -100%; margin-top: -1px; } .labels .inside { margin: 2px; }
.labels.large-only { display: none; }
.open { position: absolute; inset: 0; border-radius: 4px; cursor: zoom-in; }
@media (hover: hover) { .open:hover { box-shadow: 0 0 0 4px #121010, 0 0 0 6px var(--accent); } }
.turn, .details { display: none; }
.shot:target { position: fixed; inset: 0; z-index: 9; display: grid; overflow: auto; gap: 0 28px; padding: 0 28px 28px;
  grid-template: auto 1fr / minmax(0, 1fr) 320px; outline: none; overscroll-behavior: contain; }
.shot:target .open { display: none; }
.shot:target .turn { position: sticky; top: 0; z-index: 1; grid-column: 1 / -1; display: flex; flex-wrap: wrap;
  align-items: center; gap: 6px 10px; padding: 14px 0; background: #121010; font-size: 14px; }
.turn span { margin: 0 auto; color: var(--quiet); font: 13px/1 var(--mono); }
.turn a { padding: 7px 14px; border: 1px solid var(--line); border-radius: 999px; color: var(--ink);
  text-decoration: none; }
.turn a:hover { border-color: var(--accent); }
.shot:target .frame { position: sticky; top: 66px; height: calc(100vh - 94px); aspect-ratio: auto; background: none;
  place-items: start center; }
.shot:target .picture { width: min(100cqw, 100cqh * var(--w) / var(--h), var(--own) * 2.5); }
.shot:target .boxes path { stroke-width: 3px; } .shot:target .boxes .faint { stroke-width: 1px; }
.shot:target .boxes .dots { stroke-width: 9px; }
.shot:target .labels { display: block; } .shot:target .labels span { font-size: 13px; line-height: 19px; }
.shot:target .told { margin: 0; min-width: 0; }
.shot:target h3 { font: 400 21px/1.3 var(--serif); }
.shot:target .found { margin: 4px 0 0; font-size: 14px; }
.shot:target .details { display: block; }
.shot:target h4 { margin: 22px 0 6px; color: var(--quiet); }
.predicted { margin: 0; padding: 0; list-style: none; font-size: 14px; }
.predicted li { display: flex; align-items: baseline; padding: 4px 0; font-variant-numeric: tabular-nums; }
.predicted .swatch { flex: none; }
.predicted code { display: block; color: var(--quiet); }
.details dl { margin: 22px 0 0; font-size: 14px; }
.details dl div { display: flex; gap: 14px; padding: 6px 0; border-top: 1px solid var(--line); }
.details dt { flex: 0 0 40%; color: var(--quiet); } .details dd { margin: 0; }
.details figure { margin: 22px 0 0; }
.details img { display: block; width: 100%; border-radius: 4px; background: #060505; }
.details figcaption { margin-top: 6px; color: var(--quiet); font-size: 13px; }
html:has(.shot:target) { overflow: hidden; }
body:has(.shot:target) { visibility: hidden; }
.shot:target { visibility: visible; }
@media (max-width: 820px) {
  .shot:target { grid-template: auto max-content 1fr / minmax(0, 1fr); padding: 0 18px 28px; }
  .shot:target .frame { position: static; height: auto; container-type: inline-size; }
  .shot:target .picture { width: min(100cqw, 64vh * var(--w) / var(--h)); }
  .shot:target .told { margin-top: 18px; }
}
@media (max-width: 620px) {
  .film { margin: 0 -18px; border-radius: 0; padding: 18px; }
  .sheet { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 18px 12px; }
  .turn span { order: 3; flex-basis: 100%; text-align: center; }
  .turn a:first-child { margin-right: auto; }
  .turn a { padding: 8px 12px; }
}
@media print {
  .open, .turn { display: none; } .sheet li { break-inside: avoid; }
  .film { --ink: #1d1c1a; --quiet: #66625b; --accent: #b4451f; padding: 0; background: none; }
}
"""

#include "tools/report/report_assets.h"

namespace tactus {

const char kReportStyle[] = R"css(
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1b1f24;--dim:#5b6470;--line:#e3e6ea;--a:#0b62c4;--b:#b4480a;--good:#1a7f37;--hot:255,138,30;--cold:60,130,246}
@media(prefers-color-scheme:dark){:root{--bg:#101418;--card:#181d23;--ink:#e7ebf0;--dim:#9aa5b1;--line:#2b323a;--a:#6cb2ff;--b:#ffab70;--good:#56d27a;--hot:255,150,50;--cold:90,160,255}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1100px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:1.7rem;margin:0}h2{font-size:1.15rem;margin:36px 0 12px}
.sub{color:var(--dim);margin:2px 0 20px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(185px,1fr));gap:12px}
.tile,figure,details.box{background:var(--card);border:1px solid var(--line);border-radius:10px}
.tile{padding:12px 14px}.tile b{display:block;font-size:1.35rem;white-space:nowrap;font-variant-numeric:tabular-nums}.tile span{color:var(--dim);font-size:.85rem}
.up{color:var(--good)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:14px}
figure{margin:0;padding:12px 14px 8px}figcaption small{color:var(--dim);margin-left:4px}
svg{width:100%;height:auto;display:block;border-radius:6px}
:focus-visible{outline:2px solid var(--a);outline-offset:2px}
.grid line{stroke:var(--line)}.grid text{fill:var(--dim);font-size:11px}
path{fill:none;stroke-width:2;stroke-linejoin:round}path.s0{stroke:var(--a)}path.s1{stroke:var(--b)}path.raw{stroke-width:1;opacity:.35}
circle.s0{fill:var(--a)}circle.s1{fill:var(--b)}circle.raw{opacity:.35}
.cursor{stroke:var(--dim);stroke-dasharray:3 3;visibility:hidden}
.legend{display:flex;gap:14px;font-size:.85rem;min-height:1.4em;flex-wrap:wrap}.legend output{margin-left:auto;color:var(--dim);font-variant-numeric:tabular-nums}
.k0::before,.k1::before{content:"";display:inline-block;width:14px;height:3px;margin-right:6px;vertical-align:middle;background:var(--a)}.k1::before{background:var(--b)}
details.box{padding:10px 14px;margin-top:12px}summary{cursor:pointer}
pre{overflow:auto;font:12.5px/1.5 ui-monospace,Menlo,Consolas,monospace;margin:10px 0 0}
.scroll{overflow:auto;max-height:420px;margin-top:10px}table{border-collapse:collapse;font-size:.83rem;font-variant-numeric:tabular-nums}
th,td{padding:3px 9px;text-align:right;border-bottom:1px solid var(--line)}th{position:sticky;top:0;background:var(--card);font-weight:600}
@media print{body{background:#fff}figure{break-inside:avoid}}
)css";

const char kReportScript[] = R"js(
for (const figure of document.querySelectorAll('figure')) {
  const svg = figure.querySelector('svg'), out = figure.querySelector('output'), cursor = svg.querySelector('.cursor');
  const [x, ...series] = JSON.parse(figure.querySelector('script').textContent);
  if (!x.length) continue;
  const span = Math.max(1e-9, x[x.length - 1] - x[0]);
  let at = x.length - 1;
  const show = i => {
    at = Math.min(x.length - 1, Math.max(0, i));
    const px = 56 + (x[at] - x[0]) / span * 414;
    cursor.setAttribute('x1', px); cursor.setAttribute('x2', px); cursor.style.visibility = 'visible';
    out.textContent = 'step ' + Math.round(x[at]) + ': ' + series.map(s => s.y[at] === null ? '–' : s.y[at]).join(' / ');
  };
  const hide = () => { cursor.style.visibility = 'hidden'; out.textContent = ''; };
  svg.addEventListener('pointermove', e => {
    const box = svg.getBoundingClientRect();
    const step = x[0] + ((e.clientX - box.left) / box.width * 480 - 56) / 414 * span;
    let best = 0;
    x.forEach((v, i) => { if (Math.abs(v - step) < Math.abs(x[best] - step)) best = i; });
    show(best);
  });
  svg.addEventListener('pointerleave', hide);
  svg.addEventListener('focus', () => show(at));
  svg.addEventListener('blur', hide);
  svg.addEventListener('keydown', e => {
    const to = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: x.length - 1, PageUp: at - 10, PageDown: at + 10}[e.key];
    if (to !== undefined) { show(to); e.preventDefault(); }
  });
}
)js";

}  // namespace tactus

// SPDX-License-Identifier: Apache-2.0
#include "present/assets.h"

namespace indexcache {

const char* const kColors = R"(
:root{--paper:#fff;--panel:#f6f7f8;--ink:#1a1c20;--muted:#555b63;--grid:#e1e4e8;--edge:#8a9099;
--full:#00507d;--on-full:#fff;--shared:#e8eaed;--on-shared:#1a1c20;--greedy:#00507d;
--held:#b34700;--uniform:#7a3d8f;--good:#00664a;--bad:#a3260f}
@media (prefers-color-scheme:dark){:root{--paper:#14161a;--panel:#1d2025;--ink:#e9ebee;
--muted:#a9b0b9;--grid:#30353c;--edge:#79818c;--full:#6cc0f5;--on-full:#0d1116;--shared:#2b3037;
--on-shared:#e9ebee;--greedy:#6cc0f5;--held:#ffab6b;--uniform:#d9a3ee;--good:#5fd8ad;
--bad:#ff9c87}}
@media print{:root{--paper:#fff;--panel:#fff;--ink:#000;--muted:#333;--grid:#ddd;--edge:#666;
--full:#00507d;--on-full:#fff;--shared:#e8eaed;--on-shared:#000;--greedy:#00507d;--held:#b34700;
--uniform:#7a3d8f;--good:#00664a;--bad:#a3260f}}
)";

const char* const kChartStyle = R"(
svg{font-family:system-ui,"DejaVu Sans",sans-serif}
svg text{font-size:12px;fill:var(--ink)}
svg .tick{fill:var(--muted)}
svg .axis{fill:var(--muted);font-style:italic}
svg .note{font-size:12px}
svg .paper{fill:var(--paper)}
svg .grid{stroke:var(--grid);stroke-width:1}
svg .frame{stroke:var(--edge);stroke-width:1}
svg .zero{stroke:var(--edge);stroke-width:1.5}
svg .greedy{fill:none;stroke:var(--greedy);stroke-width:2}
svg .greedy-dot{fill:var(--greedy)}
svg .greedy-text{fill:var(--greedy)}
svg .held{fill:none;stroke:var(--held);stroke-width:2}
svg .held-dot{fill:var(--held)}
svg .held-text{fill:var(--held)}
svg .uniform{fill:none;stroke:var(--uniform);stroke-width:2;stroke-dasharray:5 3}
svg .uniform-dot{fill:var(--paper);stroke:var(--uniform);stroke-width:2}
svg .uniform-text{fill:var(--uniform)}
svg .mark{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:2 3}
svg .bar{fill:var(--greedy)}
svg .bar-good{fill:var(--good)}
svg .full{fill:var(--full)}
svg .on-full{fill:var(--on-full);font-size:15px;font-weight:600}
svg .shared{fill:var(--shared)}
svg .on-shared{fill:var(--on-shared);font-size:15px}
svg .block{fill:none;stroke:#e0301e;stroke-width:2}
svg .donor{fill:none;stroke:var(--ink);stroke-width:1.5}
svg .donor-in{fill:none;stroke:#fff;stroke-width:.7}
svg .ring{fill:none;stroke:#000;stroke-width:1.2}
svg .chosen{fill:none;stroke:var(--ink);stroke-width:1.5}
.target:not(.on){display:none}
)";

const char* const kPageStyle = R"(
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,"DejaVu Sans",
sans-serif}
main{max-width:1280px;margin:0 auto;padding:16px}
h1{font-size:1.4rem;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:0 0 4px}
p{margin:4px 0;overflow-wrap:anywhere}
.muted,figcaption,caption{color:var(--muted)}
figcaption,caption{font-size:.9rem;text-align:left}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr));gap:16px}
section,.card{background:var(--panel);border:1px solid var(--grid);border-radius:8px;
padding:14px;min-width:0}
.card{margin-bottom:16px}
.across{grid-column:1/-1}
figure{margin:0}
svg{width:100%;height:auto;display:block;max-width:640px;margin:0 auto}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,190px),1fr));gap:12px;
margin:12px 0}
.facts div{border-left:4px solid var(--full);padding-left:10px}
.facts b{display:block;font-size:1.5rem;line-height:1.2}
.pattern,code,pre{font-family:ui-monospace,"DejaVu Sans Mono",monospace}
.pattern{overflow-wrap:anywhere;font-size:1.05rem;letter-spacing:.04em}
.verdict{font-weight:600;font-size:1.1rem}
.verdict.good{color:var(--good)}
.verdict.bad{color:var(--bad)}
.warning{border-left:4px solid var(--bad);padding-left:10px}
.copy{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:8px;align-items:start;
margin:6px 0}
.copy pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.82rem;
background:var(--paper);
border:1px solid var(--grid);border-radius:4px;padding:6px}
button{font:inherit;color:var(--on-full);background:var(--full);border:0;border-radius:4px;
padding:4px 10px;cursor:pointer}
fieldset{border:0;padding:0;margin:8px 0}
label{margin-right:14px;white-space:nowrap}
table{border-collapse:collapse;font-size:.85rem;margin-top:8px;width:100%}
th,td{padding:2px 6px;text-align:right;border-bottom:1px solid var(--grid);vertical-align:top}
th:first-child,td:first-child{text-align:left}
.wide{overflow:auto;max-height:420px}
.wide table{width:auto;min-width:100%}
details{margin-top:6px}
summary{cursor:pointer;color:var(--muted);font-size:.9rem}
dl{display:grid;grid-template-columns:minmax(110px,auto) minmax(0,1fr);gap:2px 12px;
font-size:.85rem;margin:6px 0}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
@media print{.copy button,fieldset{display:none}section,.card{break-inside:avoid}details{
display:none}}
)";

const char* const kScript = R"(
(function(){
var on=function(node,kind,does){node.addEventListener(kind,does)};
var all=function(what){return Array.prototype.slice.call(document.querySelectorAll(what))};
all('input[name=target]').forEach(function(input){on(input,'change',function(){
all('.target').forEach(function(node){
node.classList.toggle('on',node.getAttribute('data-target')===input.value)})})});
all('.copy button').forEach(function(button){on(button,'click',function(){
var pre=button.parentNode.querySelector('pre'),told=button.textContent;
var done=function(){button.textContent='copied';setTimeout(function(){button.textContent=told},
1500)};
var old=function(){var range=document.createRange(),now=getSelection();
range.selectNodeContents(pre);
now.removeAllRanges();now.addRange(range);document.execCommand('copy');now.removeAllRanges();
done()};
if(navigator.clipboard&&isSecureContext)navigator.clipboard.writeText(pre.textContent).then(done,
old);
else old()})});
var map=document.querySelector('#heatmap svg'),told=document.querySelector('#heatmap-value');
if(map&&told){var rows=all('#heatmap-table tbody tr'),frame=map.querySelector('.cells');
on(map,'mousemove',function(event){var box=frame.getBoundingClientRect(),n=rows.length;
var i=Math.floor((event.clientY-box.top)/box.height*n),
j=Math.floor((event.clientX-box.left)/box.width*n);
if(i>=0&&i<n&&j>=0&&j<n)
told.textContent='layers '+i+' and '+j+': '+rows[i].cells[j+1].textContent})}
})();
)";

}  // namespace indexcache

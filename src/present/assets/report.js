// SPDX-License-Identifier: Apache-2.0
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
['heatmap','triangle'].forEach(function(id){
var map=document.querySelector('#'+id+' svg'),told=document.querySelector('#'+id+'-value');
if(!map||!told)return;
var rows=all('#'+id+'-table tbody tr'),frame=map.querySelector('.area')||map.querySelector('.cells'),
name=function(i){return rows[i].cells[0].textContent};
on(map,'mousemove',function(event){var box=frame.getBoundingClientRect(),n=rows.length;
var i=Math.floor((event.clientY-box.top)/box.height*n),
j=Math.floor((event.clientX-box.left)/box.width*n);
if(!(i>=0&&i<n&&j>=0&&j<n))return;
var value=rows[i].cells[j+1].textContent;
if(value)told.textContent=told.getAttribute('data-cell').replace('#',name(i)).replace('#',name(j))+': '+value})});
})();

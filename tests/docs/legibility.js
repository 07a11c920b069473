// What is hard to read on a page: text that is faint or small, and a page that is wider than its screen.

const [theme] = arguments;
document.documentElement.dataset.theme = theme;
const parse = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
const light = (c) => { const v = c / 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
const known = new Map();
const backdrop = (element) => {
  if (!known.has(element)) known.set(element, look(element));
  return known.get(element);
};
const look = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const style = getComputedStyle(e);
    const [r, g, b, a = 1] = parse(style.backgroundColor);
    if (style.backgroundImage !== "none" || (a > 0 && a < 1)) return null;  // a bar or a tint: looked at by eye
    if (a === 1 && style.backgroundColor !== "rgba(0, 0, 0, 0)") return [r, g, b];
  }
  return [255, 255, 255];
};
const faults = [];
const width = document.documentElement.scrollWidth;
if (width > innerWidth) faults.push(`wider than the screen: ${width}`);
for (const element of document.querySelectorAll("article *, #explorer *")) {
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || element.closest("svg, mjx-container, .headerlink, mjx-assistive-mml")) continue;
  if (!element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) continue;
  const name = element.textContent.trim().slice(0, 40);
  const style = getComputedStyle(element);
  const behind = backdrop(element);
  const ink = parse(style.color);
  if (behind && (ink[3] ?? 1) === 1) {
    const [a, b] = [luminance(ink), luminance(behind)].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.4) faults.push(`faint: ${name} ${style.color} on ${behind}`);
  }
  const size = parseFloat(style.fontSize);
  if (size > 0 && size < 10.5 && !element.closest("sub, sup")) faults.push(`small: ${name} ${size}px`);
}
return [...new Set(faults)].slice(0, 8);

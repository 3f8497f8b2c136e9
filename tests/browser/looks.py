"""What can be asked of a page about its looks."""

from __future__ import annotations

from typing import Any

from tests.browser.page import Page

_FAINT = """
(() => {
  const parts = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map(value => value / 255)
      .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest("svg, .unseen, caption")) continue;
    if (!element.checkVisibility({visibilityProperty: true})) continue;
    const style = getComputedStyle(element), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const lights = [light(parts(style.color)), light(ground(element))].sort((a, b) => b - a);
    const ratio = (lights[0] + 0.05) / (lights[1] + 0.05);
    found.push({text: node.data.trim().slice(0, 40), ratio, enough: ratio >= (large ? 3 : 4.5)});
  }
  return found;
})()
"""
_WIDE = """
[...document.querySelectorAll("body *")]
  .filter(element => !element.closest("svg, .unseen, caption, .labels") && element.checkVisibility())
  .map(element => ({what: element.outerHTML.slice(0, 80), right: element.getBoundingClientRect().right}))
  .filter(({right}) => right > document.documentElement.clientWidth + 0.5)
"""


def contrasts(page: Page) -> list[dict[str, Any]]:
    """Each visible text with its contrast to what is behind it, and whether that is enough for WCAG's level AA."""
    found: list[dict[str, Any]] = page.evaluate(_FAINT)
    return found


def sticking_out(page: Page) -> list[dict[str, Any]]:
    """The elements that reach beyond the window's right edge."""
    found: list[dict[str, Any]] = page.evaluate(_WIDE)
    return found

// WCAG 2.2 AA as far as axe can check it: every screen, in both languages, light and dark.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import axe from 'axe-core';
import { newPage, signIn } from '../kit.mjs';

const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

async function violations(page, where) {
  const found = [];
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    // Waits for colour transitions to end, since axe would measure the colours of that instant.
    await page.evaluate(async () => {
      const drawn = () => new Promise((resolve) => requestAnimationFrame(resolve));
      await drawn();
      await Promise.allSettled(document.getAnimations().filter((one) => one.effect?.getComputedTiming().iterations !== Infinity).map((one) => one.finished));
      await drawn();
    });
    const runOnly = colorScheme === 'light' ? { type: 'tag', values: RULES } : { type: 'rule', values: ['color-contrast'] };
    const { violations: all } = await page.evaluate((only) => globalThis.axe.run(document, { runOnly: only, resultTypes: ['violations'], preload: false }), runOnly);
    found.push(...all.map(({ id, help, nodes }) =>
      `${where}, ${colorScheme}: ${id}: ${help}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.any[0]?.message ?? ''}`).join(' | ')}`));
  }
  return found;
}

/** One-time links that a screen made and a later one opens. */
const links = [];

/** The screens: page size, person, and the steps to each screen. Each step starts where the one before it ended. */
const tours = [
  ['phone', undefined, [
    ['sign-in', async (page, url) => { await page.goto(`${url}/app/`); await page.getByTestId('demo-member02').waitFor(); }],
    ['sign-in refused', async (page) => {
      await page.getByTestId('signin-email').fill('nobody@demo.test');
      await page.getByTestId('signin-password').fill('wrong');
      await page.getByTestId('signin-submit').click();
      await page.locator('.error-note:not(:empty)').waitFor();
    }],
  ]],
  ['phone', 'member02', [
    ['day', (page) => page.getByTestId('summary').waitFor()],
    ['part of a meal', async (page) => { await page.getByTestId('part').first().click(); await page.getByTestId('part-slider').waitFor(); }],
    ['yesterday', async (page) => { await page.getByTestId('day-previous').click(); await page.getByTestId('today').waitFor(); }],
    ['a day before the plan', async (page) => { for (let n = 0; n < 21; n += 1) await page.getByTestId('day-previous').click(); }],
    ['sessions', async (page) => {
      await page.getByTestId('account').click();
      await page.getByTestId('sessions').click();
      await page.locator('.row').first().waitFor();
    }],
    ['menu', (page) => page.getByTestId('account').click()],
  ]],
  ['desk', 'trainer1', [
    ['wall', (page) => page.getByTestId('feed').waitFor()],
    ['member', async (page) => { await page.locator('[data-testid^=member-] button').first().click(); await page.getByTestId('edit').first().waitFor(); }],
    ['editor', async (page) => { await page.getByTestId('edit').first().click(); await page.getByTestId('edit-title').waitFor(); }],
    ['editor with a mistake', async (page) => {
      await page.getByTestId('edit-amount').first().fill('many');
      await page.getByTestId('edit-save').click();
      await page.locator('.error-note:not(:empty)').waitFor();
    }],
    ['food search', async (page) => { await page.getByTestId('food-search').fill('pan'); await page.getByTestId('food-result').first().waitFor(); }],
    ['plans', async (page, url) => { await page.goto(`${url}/app/plans`); await page.locator('[data-testid^=plan-]').first().waitFor(); }],
    ['plan', async (page) => { await page.locator('[data-testid^=plan-]').first().click(); await page.locator('.meal-row').first().waitFor(); }],
  ]],
  ['desk', 'manager', [
    ['wall of a trainer', (page) => page.getByTestId('feed').waitFor()],
    ['people', async (page, url) => { await page.goto(`${url}/app/people`); await page.locator('[data-testid^=person-]').first().waitFor(); }],
    ['form of an invitation', async (page) => { await page.getByTestId('invite').click(); await page.getByTestId('invite-email').waitFor(); }],
    ['link of an invitation', async (page) => {
      await page.getByTestId('invite-name').fill('Iria Iglesias');
      await page.getByTestId('invite-email').fill(`iria${Date.now()}@demo.test`);
      await page.getByTestId('invite-submit').click();
      links.push(await page.getByTestId('link').inputValue());
      await page.getByTestId('panel-close').click();
    }],
    ['link to set a new password', async (page) => {
      await page.getByTestId('reset-link').last().click();
      links.push(await page.getByTestId('link').inputValue());
    }],
  ]],
  ['phone', undefined, [
    ['page of an invitation', async (page) => { await page.goto(links.at(-2)); await page.getByTestId('claim-name').waitFor(); }],
    ['page of an invitation, own account', async (page) => { await page.getByTestId('claim-own').click(); await page.getByTestId('claim-gym').waitFor(); }],
    ['page of a reset link', async (page) => { await page.goto(links.at(-1)); await page.getByTestId('reset-email').waitFor(); }],
    ['page of a link that does not work', async (page, url) => { await page.goto(`${url}/app/reset#none`); await page.getByTestId('link-leave').waitFor(); }],
  ]],
];

export function accessibility(server, { browser }) {
  test('accessibility', async (t) => {
    for (const language of ['es', 'en']) {
      await t.test(`no screen breaks a rule in ${language}`, async () => {
        const found = [];
        let screens = 0;
        for (const [size, who, screensOf] of tours) {
          const page = await newPage(browser(), { size, language, reducedMotion: 'reduce' });
          await page.addInitScript(axe.source);
          if (who) await signIn(page, server.url, who);
          for (const [name, go] of screensOf) {
            await go(page, server.url);
            found.push(...(await violations(page, name)));
            screens += 1;
          }
          await page.context().close();
        }
        t.diagnostic(`${screens} screens in ${language}, light and dark: ${found.length} violations`);
        assert.deepEqual(found, []);
      });
    }
  });
}

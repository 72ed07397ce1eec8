// A member and their trainer, side by side.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { api, edit, Line, live, newPage, now, press, signIn, spread, until, watchFor } from '../kit.mjs';

/** The number of edits over REST whose delay to the screen is measured. */
const EDITS = 20;

export function together(server, { browser }) {
  test('member and trainer, side by side', async (t) => {
    const line = new Line();
    await line.open(server);
    t.after(() => line.close());
    const trainer = await api(server, 'trainer1');
    const member = await api(server, 'member01');
    const today = await member.call('GET', 'follows/today');
    const mealAt = (slot) => today.meals.find((meal) => meal.slot === slot);
    const [lunch, dinner] = [mealAt('lunch'), mealAt('dinner')];
    const others = today.meals.filter((meal) => meal !== lunch && meal !== dinner);
    const account = member.session.account.id;

    const phone = await newPage(browser(), { size: 'phone', language: 'en' });
    const desk = await newPage(browser(), { language: 'en' });
    const onPhone = (meal) => phone.getByTestId(`meal-${meal.id}`);
    const tile = desk.getByTestId(`member-${account}`);
    // From here on, neither page may be reloaded.
    const loaded = async (page) => page.evaluate(() => (globalThis.loadedOnce ??= performance.timeOrigin));
    let first;

    await t.test('the wall shows that the member is online', async () => {
      await signIn(desk, server.url, 'trainer1');
      await tile.waitFor();
      assert.equal(await tile.getByTestId('online-dot').getAttribute('data-online'), 'false');
      await signIn(phone, line.url, 'member01');
      await tile.locator('[data-testid=online-dot][data-online=true]').waitFor();
      first = [await loaded(phone), await loaded(desk)];
    });

    await t.test('the lunch that the trainer edits appears on the phone and is marked', async () => {
      await tile.getByRole('button').click();
      await desk.getByTestId('panel').getByTestId(`meal-${lunch.id}`).getByTestId('edit').click();
      await desk.getByTestId('edit-title').fill('Paella of the house');
      await desk.getByTestId('edit-time').fill('14:25');
      await desk.getByTestId('food-search').fill('gazpaco');
      await desk.getByTestId('food-result').first().click();
      const seen = await watchFor(phone, `meal-${lunch.id}`, 'Paella of the house');
      const pressed = await press(desk.getByTestId('edit-save'));
      const took = (await seen()) - pressed;
      t.diagnostic(`from the trainer's click on Save to the member's screen: ${took.toFixed(1)} ms`);
      assert.ok(took < 2000, `${took} ms`);
      assert.match(await onPhone(lunch).textContent(), /14:25/);
      assert.match(await onPhone(lunch).textContent(), /Gazpacho/i);
      await onPhone(lunch).getByTestId('changed-badge').waitFor();
      await desk.getByTestId('panel-close').click();
    });

    await t.test('edits reach the screen within milliseconds', async () => {
      const times = [];
      for (let n = 1; n <= EDITS; n += 1) {
        const seen = await watchFor(phone, `meal-${lunch.id}`, `Paella ${n} of`);
        const path = `plans/${today.plan_id}/days/${today.day}/meals/${lunch.id}`;
        const { version } = await trainer.call('GET', path);
        const asked = now();
        await trainer.call('PATCH', path, { body: { title: `Paella ${n} of ${EDITS}` }, headers: { 'If-Match': `"${version}"` } });
        times.push((await seen()) - asked);
      }
      t.diagnostic(`from the edit's request to the member's screen, ${EDITS} edits: ${spread(times)}`);
    });

    await t.test('an open form reports that somebody else has saved, and keeps what was typed', async () => {
      await tile.getByRole('button').click();
      await desk.getByTestId('panel').getByTestId(`meal-${lunch.id}`).getByTestId('edit').click();
      await desk.getByTestId('edit-notes').fill('Half a lemon');
      await edit(trainer, today, lunch.id, { time_min: 14 * 60 + 40 });
      await desk.getByTestId('conflict').getByText('14:40').waitFor();
      await desk.getByTestId('conflict-reload').click();
      assert.equal(await desk.getByTestId('edit-time').inputValue(), '14:40');
      assert.equal(await desk.getByTestId('edit-notes').inputValue(), 'Half a lemon');
      await desk.getByTestId('edit-save').click();
      await onPhone(lunch).getByText('Half a lemon').waitFor();
      assert.match(await onPhone(lunch).textContent(), /14:40/);
      await desk.getByTestId('panel-close').click();
    });

    await t.test('a tick on the phone moves the bar and feed of the wall', async () => {
      const bar = tile.getByTestId('member-bar');
      const before = Number(await bar.getAttribute('aria-valuenow'));
      const rows = await desk.getByTestId('feed').locator('li').count();
      const seen = await watchFor(desk, 'feed', 'ate a meal');
      const pressed = await press(onPhone(lunch).getByTestId('tick'));
      const took = (await seen()) - pressed;
      t.diagnostic(`from the member's tick to the trainer's feed: ${took.toFixed(1)} ms`);
      await until('the bar has grown', async () => Number(await bar.getAttribute('aria-valuenow')) > before);
      assert.equal(await desk.getByTestId('feed').locator('li').count(), rows + 1);
      assert.equal(await onPhone(lunch).getAttribute('data-status'), 'eaten');
      await edit(trainer, today, lunch.id, { notes: 'With lemon' });
      await onPhone(lunch).getByTestId('changed-after').waitFor();
    });

    await t.test('a partial tick, a skip and their undos reach the wall', async () => {
      const [meal] = others;
      await onPhone(meal).getByTestId('part').click();
      await onPhone(meal).getByTestId('part-more').click();
      await onPhone(meal).getByTestId('part-save').click();
      await desk.getByTestId('feed').getByText('ate part of a meal').waitFor();
      assert.match(await onPhone(meal).getByTestId('meal-status').textContent(), /60\s?%/);
      await onPhone(meal).getByTestId('undo').click();
      await desk.getByTestId('feed').getByText('undid a record').waitFor();
      await onPhone(meal).getByTestId('skip').click();
      await desk.getByTestId('feed').getByText('skipped a meal').waitFor();
      await onPhone(meal).getByTestId('undo').click();
      const takenBack = desk.getByTestId('feed').getByText('undid a record');
      await until('both undos are in the feed', async () => (await takenBack.count()) === 2);
      assert.equal(await onPhone(meal).getAttribute('data-status'), 'open');
    });

    await t.test('a phone that was offline recovers everything and sends each tick once', async () => {
      const sent = [];
      phone.on('websocket', (socket) => socket.on('framesent', ({ payload }) => sent.push(String(payload))));
      const done = (await member.call('GET', 'follows/today')).progress.meals_done;
      const rows = await desk.getByTestId('feed').locator('li').count();
      line.cut();
      await phone.context().setOffline(true);
      await phone.locator('[data-testid=connection][data-state=offline]').waitFor({ state: 'attached' });
      for (const meal of others.slice(0, 2)) await onPhone(meal).getByTestId('tick').click();
      await phone.getByTestId('offline').getByText('2 changes waiting').waitFor();
      assert.equal(await onPhone(others[0]).getAttribute('data-pending'), 'true');
      assert.match(await onPhone(others[0]).getByTestId('pending').textContent(), /waiting for the network/);
      await desk.locator(`[data-testid="member-${account}"] [data-testid=online-dot][data-online=false]`).waitFor();
      for (let n = 1; n <= 5; n += 1) await edit(trainer, today, dinner.id, { title: `Dinner while away ${n}` });
      await edit(trainer, today, lunch.id, { title: 'Lunch while away' });
      const back = now();
      line.mend();
      await phone.context().setOffline(false);
      await onPhone(dinner).getByText('Dinner while away 5').waitFor();
      t.diagnostic(`from the network's return to what was missed on the screen: ${(now() - back).toFixed(0)} ms`);
      await onPhone(lunch).getByText('Lunch while away').waitFor();
      await onPhone(dinner).getByTestId('changed-badge').waitFor();
      for (const meal of others.slice(0, 2)) {
        await until('the tick is sent', async () => (await onPhone(meal).getAttribute('data-pending')) === null);
        assert.equal(await onPhone(meal).getAttribute('data-status'), 'eaten');
      }
      assert.equal((await member.call('GET', 'follows/today')).progress.meals_done, done + 2);
      const ticks = sent.join('\n').match(/meal\.complete/g) ?? [];
      assert.equal(ticks.length, 2, sent.join('\n'));
      // Each tick appears on the wall once: two rows besides those of the six edits.
      await until('both ticks are on the wall', async () => (await desk.getByTestId('feed').locator('li').count()) === rows + 8);
    });

    await t.test('a name without blanks stays inside its card', async () => {
      await edit(trainer, today, dinner.id, { title: 'Supercalifragilisticexpialidocious'.repeat(5) });
      await onPhone(dinner).getByText('Supercali').first().waitFor();
      await tile.getByRole('button').click();
      for (const [page, card] of [[phone, onPhone(dinner)], [desk, desk.getByTestId('panel').getByTestId(`meal-${dinner.id}`)]]) {
        const over = await card.evaluate((element) => [element, ...element.querySelectorAll('*')]
          .filter((part) => part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).overflowX === 'visible' && part.clientWidth > 0)
          .map((part) => part.className));
        assert.deepEqual(over, []);
        assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth));
      }
      await desk.getByTestId('panel-close').click();
    });

    await t.test('a killed server starts again, and both pages continue without a reload', async () => {
      await server.stop('SIGKILL');
      await until('both pages show the lost connection', async () => {
        const states = await Promise.all([phone, desk].map((page) => page.getByTestId('connection').getAttribute('data-state')));
        return states.every((state) => state !== 'live');
      });
      await server.start();
      const back = now();
      await Promise.all([live(phone), live(desk)]);
      t.diagnostic(`from the server's return to live pages: ${(now() - back).toFixed(0)} ms`);
      await edit(trainer, today, dinner.id, { title: 'Dinner after the restart' });
      await onPhone(dinner).getByText('Dinner after the restart').waitFor();
      await onPhone(others[0]).getByTestId('undo').click();
      await until('the open meal is open', async () => (await onPhone(others[0]).getAttribute('data-status')) === 'open');
      assert.deepEqual([await loaded(phone), await loaded(desk)], first);
      assert.deepEqual([...phone.faults, ...desk.faults], []);
    });
  });
}

// One-time links in the browser: inviting, joining, setting a new password.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { live, newPage, signIn } from '../kit.mjs';

const PASSWORD = 'battery staple';

/** Fills the form of an invitation and returns the link. */
async function invite(page, name, email, role = 'member') {
  await page.getByTestId('invite').click();
  await page.getByTestId('invite-name').fill(name);
  await page.getByTestId('invite-email').fill(email);
  if (role !== 'member') {
    await page.getByTestId('invite-member').uncheck();
    await page.getByTestId(`invite-${role}`).check();
  }
  await page.getByTestId('invite-submit').click();
  const link = await page.getByTestId('link').inputValue();
  await page.getByTestId('panel-close').click();
  return link;
}

export function links(server, { browser }) {
  test('one-time links', async (t) => {
    const desk = await newPage(browser(), { language: 'en', permissions: ['clipboard-read', 'clipboard-write'] });
    await signIn(desk, server.url, 'manager');
    await desk.goto(`${server.url}/app/people`);
    await desk.locator('[data-testid^=person-]').first().waitFor();
    t.after(() => desk.context().close());
    let nuria;

    await t.test('an invited person joins with a new account and is signed in', async () => {
      const link = await invite(desk, 'Nuria Nueva', 'nuria@example.test');
      assert.match(link, new RegExp(`^${server.url}/app/invitation#[A-Za-z0-9_-]{43}$`));
      nuria = await newPage(browser(), { size: 'phone', language: 'en' });
      const sent = [];
      nuria.on('request', (request) => sent.push(request.url(), request.headers().referer ?? ''));
      await nuria.goto(link);
      await nuria.getByRole('heading', { name: 'Gimnasio Demo invites you' }).waitFor();
      assert.equal(await nuria.getByTestId('claim-name').inputValue(), 'Nuria Nueva');
      await nuria.getByTestId('new-password').fill(PASSWORD);
      await nuria.getByTestId('claim-submit').click();
      await live(nuria);
      assert.equal(new URL(nuria.url()).pathname, '/app/');
      await nuria.getByTestId('account').click();
      await nuria.getByText('nuria@example.test').waitFor();
      await nuria.keyboard.press('Escape');
      const secret = link.split('#')[1];
      assert.ok(sent.length > 0 && sent.every((url) => !url.includes(secret)), 'the secret is in a request line');
      assert.deepEqual(nuria.faults, []);
      await desk.reload();
      await desk.getByText('nuria@example.test').waitFor();
      const again = await newPage(browser(), { language: 'en' });
      await again.goto(link);
      await again.getByRole('alert').getByText('This link no longer works').waitFor();
      await again.getByTestId('link-leave').click();
      await again.getByTestId('signin-email').waitFor();
      await again.context().close();
    });

    await t.test('a link is copied, renewed and revoked', async () => {
      await desk.getByTestId('invite').click();
      await desk.getByTestId('invite-name').fill('Otto Otero');
      await desk.getByTestId('invite-email').fill('otto@example.test');
      await desk.getByTestId('invite-submit').click();
      const first = await desk.getByTestId('link').inputValue();
      await desk.getByTestId('link-copy').click();
      await desk.getByTestId('link-copy').getByText('Copied').waitFor();
      assert.equal(await desk.evaluate(() => navigator.clipboard.readText()), first);
      await desk.getByTestId('panel-close').click();
      const row = desk.locator('[data-testid^=invitation-]').filter({ hasText: 'otto@example.test' });
      await row.getByTestId('invitation-renew').click();
      const second = await desk.getByTestId('link').inputValue();
      assert.notEqual(second, first);
      await desk.getByTestId('panel-close').click();
      await row.getByTestId('invitation-revoke').click();
      await row.waitFor({ state: 'detached' });
      const page = await newPage(browser(), { language: 'en' });
      for (const link of [first, second]) {
        await page.goto('about:blank');
        await page.goto(link);
        await page.getByRole('alert').getByText('This link no longer works').waitFor();
      }
      await page.context().close();
    });

    await t.test('a manager may invite trainers and members only', async () => {
      await desk.getByTestId('invite').click();
      await desk.getByTestId('invite-trainer').waitFor();
      assert.equal(await desk.getByTestId('invite-nutritionist').count(), 0);
      await desk.getByTestId('invite-member').uncheck();
      await desk.getByTestId('invite-name').fill('x');
      await desk.getByTestId('invite-email').fill('x@example.test');
      await desk.getByTestId('invite-submit').click();
      await desk.getByRole('alert').getByText('Choose at least one role').waitFor();
      await desk.getByTestId('panel-close').click();
    });

    await t.test('a reset link signs other devices out, sets a password, and the person is told', async () => {
      const person = desk.locator('[data-testid^=person-]').filter({ hasText: 'nuria@example.test' });
      await person.getByTestId('reset-link').click();
      const link = await desk.getByTestId('link').inputValue();
      await desk.getByTestId('panel-close').click();
      // A trainer is not only a member, so the manager gets no button.
      const trainer = desk.locator('[data-testid^=person-]').filter({ hasText: 'trainer1@demo.test' });
      assert.equal(await trainer.getByTestId('reset-link').count(), 0);

      const phone = await newPage(browser(), { size: 'phone', language: 'en' });
      await phone.goto(link);
      assert.equal(await phone.getByTestId('reset-email').inputValue(), 'nuria@example.test');
      await phone.getByTestId('new-password').fill('another horse');
      await phone.getByTestId('reset-submit').click();
      await live(phone);
      await nuria.getByTestId('signin-email').waitFor();
      const notice = phone.getByTestId('reset-notice');
      assert.match(await notice.textContent(), /Mario Molina \(Gimnasio Demo\) made it/);
      await phone.getByTestId('reset-notice-close').click();
      await notice.waitFor({ state: 'detached' });
      await phone.reload();
      await live(phone);
      assert.equal(await notice.count(), 0);
      assert.deepEqual(phone.faults, []);
      await phone.context().close();
      await nuria.getByTestId('signin-email').fill('nuria@example.test');
      await nuria.getByTestId('signin-password').fill(PASSWORD);
      await nuria.getByTestId('signin-submit').click();
      await nuria.getByRole('alert').getByText('is wrong').waitFor();
      await nuria.getByTestId('signin-password').fill('another horse');
      await nuria.getByTestId('signin-submit').click();
      await live(nuria);
    });

    await t.test('somebody who is signed in and already belongs to the gym is told so, and may use another account', async () => {
      const link = await invite(desk, 'Pía Pardo', 'pia@example.test', 'trainer');
      await nuria.goto(link);
      await nuria.getByTestId('claim-join').click();
      await nuria.getByRole('alert').getByText('already belongs').waitFor();
      await nuria.getByTestId('claim-other').click();
      await nuria.getByTestId('new-password').fill(PASSWORD);
      await nuria.getByTestId('claim-submit').click();
      await live(nuria);
      await nuria.getByTestId('account').click();
      await nuria.getByText('pia@example.test').waitFor();
      assert.deepEqual([...desk.faults, ...nuria.faults], []);
      await nuria.context().close();
    });
  });
}

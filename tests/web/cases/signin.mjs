// Signing in, staying signed in, and signing out.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { api, live, newPage, signIn } from '../kit.mjs';

export function signin(server, { browser }) {
  test('signing in', async (t) => {
    await t.test('the root redirects to the app, and one click on a demo card signs in', async () => {
      const page = await newPage(browser(), { size: 'phone' });
      await page.goto(server.url);
      assert.equal(new URL(page.url()).pathname, '/app/');
      await page.getByTestId('demo-member01').click();
      await page.getByTestId('summary').waitFor();
      await live(page);
      assert.match(await page.title(), /Mi día/);
      await page.context().close();
    });

    await t.test('the form refuses a wrong password and accepts the right one', async () => {
      const page = await newPage(browser());
      await page.goto(`${server.url}/app/`);
      await page.getByTestId('signin-email').fill('trainer2@demo.test');
      await page.getByTestId('signin-password').fill('wrong');
      await page.getByTestId('signin-submit').click();
      await page.getByRole('alert').getByText('no son correctos').waitFor();
      await page.getByTestId('signin-password').fill('demo');
      await page.keyboard.press('Enter');
      await live(page);
      await page.getByTestId('feed').waitFor();
      await page.reload();
      await page.getByTestId('feed').waitFor();
      await page.getByTestId('account').click();
      await page.getByTestId('signout').click();
      await page.getByTestId('signin-email').waitFor();
      await page.reload();
      await page.getByTestId('signin-email').waitFor();
      await page.context().close();
    });

    await t.test('a new password signs other devices out and keeps this one', async () => {
      const page = await newPage(browser(), { size: 'phone' });
      await signIn(page, server.url, 'member04');
      const elsewhere = await api(server, 'member04');
      await page.getByTestId('account').click();
      await page.getByTestId('sessions').click();
      await page.getByTestId('password-current').fill('wrong');
      await page.getByTestId('password-new').fill('bicicleta verde');
      await page.getByTestId('password-save').click();
      await page.getByRole('alert').getByText('no son correctos').waitFor();
      await page.getByTestId('password-current').fill('demo');
      await page.getByTestId('password-save').click();
      await page.getByText('Contraseña cambiada').waitFor();
      await assert.rejects(elsewhere.call('GET', 'auth/me'), /401/);
      // The stored token is the new one: a reload refreshes with it.
      await page.reload();
      await live(page);
      assert.deepEqual(page.faults, []);
      await page.context().close();
    });

    await t.test('the device keeps its secret when its session ends elsewhere, and signing out removes it', async () => {
      const page = await newPage(browser(), { size: 'phone' });
      const secrets = () => page.evaluate(() => Object.keys(JSON.parse(localStorage.getItem('liveplan.device') ?? '{}')));
      await signIn(page, server.url, 'member03');
      assert.deepEqual(await secrets(), ['member03@demo.test']);
      const elsewhere = await api(server, 'member03');
      const { items } = await elsewhere.call('GET', 'auth/sessions');
      for (const session of items.filter((one) => !one.current)) await elsewhere.call('DELETE', `auth/sessions/${session.id}`);
      await page.getByTestId('signin-email').waitFor();
      assert.deepEqual(await secrets(), ['member03@demo.test']);
      const signedIn = page.waitForRequest((request) => request.url().endsWith('/auth/login'));
      await page.getByTestId('demo-member03').click();
      assert.equal(typeof (await signedIn).postDataJSON().device_secret, 'string');
      await live(page);
      await page.getByTestId('account').click();
      await page.getByTestId('signout').click();
      await page.getByTestId('signin-email').waitFor();
      assert.equal(await page.evaluate(() => localStorage.getItem('liveplan.device') ?? localStorage.getItem('liveplan.session')), null);
      await page.context().close();
    });

    await t.test('each role starts on its own page, and an address for other roles redirects there', async () => {
      for (const [who, path, there] of [['owner', '/people', 'Personas'], ['manager', '/wall', 'Miembros de este entrenador'], ['nutritionist', '/plans', 'Planes']]) {
        const page = await newPage(browser());
        await signIn(page, server.url, who);
        await page.getByRole('heading', { level: 1, name: there }).waitFor();
        if (who === 'nutritionist') {
          await page.goto(`${server.url}/app/wall`);
          await page.getByRole('heading', { level: 1, name: there }).waitFor();
        }
        assert.equal(new URL(page.url()).pathname, `/app${path}`);
        assert.deepEqual(page.faults, []);
        await page.context().close();
      }
    });

    await t.test('a trainer gets no edit button for a plan that is not theirs', async () => {
      const page = await newPage(browser());
      await signIn(page, server.url, 'trainer2');
      await page.locator('[data-testid^=member-] button').first().click();
      await page.getByTestId('panel').getByTestId('meal-status').first().waitFor();
      assert.equal(await page.getByTestId('panel').getByTestId('edit').count(), 0);
      await page.context().close();
    });

    await t.test('the language changes at once and stays', async () => {
      const page = await newPage(browser(), { size: 'phone' });
      await signIn(page, server.url, 'member02');
      await page.getByTestId('account').click();
      await page.getByTestId('language-en').click();
      await page.getByText('Devices and sessions').waitFor();
      assert.equal(await page.locator('html').getAttribute('lang'), 'en');
      await page.reload();
      await page.getByTestId('summary').getByText('Protein').waitFor();
      await page.getByTestId('account').click();
      await page.getByTestId('language-es').click();
      await page.getByTestId('summary').getByText('Proteína').waitFor();
      await page.context().close();
    });

    await t.test('a session that is ended elsewhere signs the page out at once', async () => {
      const page = await newPage(browser(), { size: 'phone' });
      await signIn(page, server.url, 'member02');
      const elsewhere = await api(server, 'member02');
      const { items } = await elsewhere.call('GET', 'auth/sessions');
      for (const session of items.filter((one) => !one.current)) await elsewhere.call('DELETE', `auth/sessions/${session.id}`);
      await page.getByTestId('signin-email').waitFor();
      await page.context().close();
    });
  });
}

/** The server outside demo mode. */
export function signinServed(server, { browser }) {
  test('a server outside demo mode shows no demo cards', async () => {
    await server.stop();
    await server.start('serve');
    const page = await newPage(browser());
    const asked = page.waitForResponse((response) => response.url().endsWith('/api/v1/demo'));
    await page.goto(`${server.url}/app/`);
    assert.equal((await asked).status(), 404);
    await page.getByTestId('signin-submit').waitFor();
    assert.equal(await page.locator('[data-testid^=demo-]').count(), 0);
  });
}

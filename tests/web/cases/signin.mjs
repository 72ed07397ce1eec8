// Signing in, staying signed in, and signing out.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { api, edit, live, newPage, signIn, signInByForm, until } from '../kit.mjs';

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
      await page.goto(`${server.url}/app/`);
      await signInByForm(page, 'member04');
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
      await page.goto(`${server.url}/app/`);
      await signInByForm(page, 'member03');
      assert.deepEqual(await secrets(), ['member03@demo.test']);
      const elsewhere = await api(server, 'member03');
      const { items } = await elsewhere.call('GET', 'auth/sessions');
      for (const session of items.filter((one) => !one.current)) await elsewhere.call('DELETE', `auth/sessions/${session.id}`);
      await page.getByTestId('signin-email').waitFor();
      assert.deepEqual(await secrets(), ['member03@demo.test']);
      const signedIn = page.waitForRequest((request) => request.url().endsWith('/auth/login'));
      await signInByForm(page, 'member03');
      assert.equal(typeof (await signedIn).postDataJSON().device_secret, 'string');
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

    await t.test('signing out asks about unsent changes, and leaves nothing in the browser', async () => {
      const page = await newPage(browser(), { size: 'phone' });
      const kept = () => page.evaluate(async () => ({
        local: Object.keys(localStorage).filter((name) => name !== 'foreign'),
        session: Object.keys(sessionStorage),
        caches: await caches.keys(),
        databases: (await indexedDB.databases()).map((one) => one.name),
        cookies: document.cookie,
      }));
      await signIn(page, server.url, 'member01');
      await page.evaluate(() => localStorage.setItem('foreign', 'of another app on this origin'));
      await page.getByTestId('account').click();
      await page.getByTestId('language-en').click();
      const trainer = await api(server, 'trainer1');
      const today = await (await api(server, 'member01')).call('GET', 'follows/today');
      await edit(trainer, today, today.meals[0].id, { notes: `before signing out ${Date.now()}` });
      await until('the change is recorded', async () => (await kept()).local.includes('liveplan.changes'));
      await page.context().setOffline(true);
      await page.locator('[data-testid=connection]:not([data-state=live])').waitFor({ state: 'attached', timeout: 60_000 });
      await page.keyboard.press('Escape');
      await page.locator('[data-testid^=meal-][data-status=open] [data-testid=tick]').first().click();
      await until('the tick waits', async () => (await kept()).local.some((name) => name.startsWith('liveplan.outbox.')));
      const said = [];
      page.on('dialog', (dialog) => {
        said.push(dialog.message());
        return said.length === 1 ? dialog.dismiss() : dialog.accept();
      });
      await page.getByTestId('account').click();
      await page.getByTestId('signout').click();
      assert.ok((await kept()).local.includes('liveplan.session'), 'signed out although it was cancelled');
      await page.getByTestId('signout').click();
      await page.getByTestId('signin-email').waitFor();
      assert.deepEqual(said.map((text) => /^1 change has not been sent/.test(text)), [true, true]);
      assert.deepEqual(await kept(), { local: [], session: [], caches: [], databases: [], cookies: '' });
      await page.context().setOffline(false);
      await page.reload();
      await page.getByTestId('signin-email').waitFor();
      // Not even commands that the page still had in memory come back.
      await page.waitForTimeout(1000);
      assert.deepEqual((await kept()).local, []);
      await page.context().close();
    });

    await t.test('the token goes to the own origin only, wherever the server directs the page', async () => {
      const seen = [];
      const elsewhere = createServer((request, response) => {
        seen.push(`${request.method} ${request.headers.authorization ?? request.headers['access-control-request-headers']}`);
        response.writeHead(200, { 'Access-Control-Allow-Origin': '*', 'Access-Control-Allow-Headers': '*, Authorization' }).end('{}');
      });
      await once(elsewhere.listen(0, '127.0.0.1'), 'listening');
      t.after(() => elsewhere.close());
      // Without the policy that would stop the request, too.
      const page = await newPage(browser(), { size: 'phone', bypassCSP: true });
      let directed = 0;
      await page.routeWebSocket(/connection\/websocket/, (near) => {
        const far = near.connectToServer();
        far.onMessage((message) => near.send(String(message).split('\n').map((line) => {
          const reply = JSON.parse(line);
          for (const sub of Object.values(reply.connect?.subs ?? {})) {
            sub.data = { fetch: true, url: `//localhost:${elsewhere.address().port}/api/v1/live/snapshots/member:1` };
            directed += 1;
          }
          return JSON.stringify(reply);
        }).join('\n')));
      });
      await signIn(page, server.url, 'member02');
      // Long enough for the second attempt, too.
      await page.waitForTimeout(1500);
      assert.ok(directed > 0, 'the page was not directed elsewhere');
      assert.deepEqual(seen, []);
      await page.context().close();
    });

    await t.test('every page runs under its policy, the documentation included', async () => {
      const page = await newPage(browser());
      for (const path of ['/app/', '/api/docs', '/api/openapi.json', '/nowhere']) {
        const response = await page.goto(`${server.url}${path}`);
        const policy = response.headers()['content-security-policy'];
        assert.match(policy, /frame-ancestors 'none'/, path);
        assert.doesNotMatch(policy, /ws:|wss:|https?:|unsafe|\*/, path);
      }
      await page.goto(`${server.url}/api/docs`);
      assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('table')).borderCollapse), 'collapse');
      // The page may not even ask another origin.
      await page.goto(`${server.url}/app/`);
      const reached = await page.evaluate(() => fetch('http://localhost:1/').then(() => 'sent', (error) => error.name));
      assert.equal(reached, 'TypeError');
      assert.ok(page.faults.some((text) => /Content Security Policy|connect-src/i.test(text)), page.faults.join());
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
  test('a server outside demo mode shows no demo cards and lets no demo account in', async () => {
    await server.stop();
    await server.start('serve');
    const page = await newPage(browser());
    const asked = page.waitForResponse((response) => response.url().endsWith('/api/v1/demo'));
    await page.goto(`${server.url}/app/`);
    assert.equal((await asked).status(), 404);
    await page.getByTestId('signin-submit').waitFor();
    assert.equal(await page.locator('[data-testid^=demo-]').count(), 0);
    await page.getByTestId('signin-email').fill('owner@demo.test');
    await page.getByTestId('signin-password').fill('demo');
    await page.getByTestId('signin-submit').click();
    await page.getByRole('alert').getByText('ninguna membresía activa').waitFor();
    await page.context().close();
  });
}

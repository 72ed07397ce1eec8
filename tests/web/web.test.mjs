// The web app in a real browser, against the real server and its demo gym. All tests share one server, because a demo
// gym takes seconds to create.
import { after, before } from 'node:test';
import { accessibility } from './cases/accessibility.mjs';
import { links } from './cases/links.mjs';
import { signin, signinServed } from './cases/signin.mjs';
import { together } from './cases/together.mjs';
import { launch, Server } from './kit.mjs';

const server = new Server();
let chromium;
before(async () => ([chromium] = await Promise.all([launch(), server.start()])));
after(() => Promise.all([chromium?.close(), server.clear()]));

const shared = { browser: () => chromium };
signin(server, shared);
accessibility(server, shared);
together(server, shared);
links(server, shared);
signinServed(server, shared);

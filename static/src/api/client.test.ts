import { describe, expect, test } from 'vitest';
import { address } from './client';

const origin = 'https://gym.example';

describe('addresses of calls', () => {
  test('paths of the API and URLs that the server names are below /api/ of the own origin', () => {
    expect(address('auth/me', origin)).toBe(`${origin}/api/v1/auth/me`);
    expect(address('foods?q=a%2Fb', origin)).toBe(`${origin}/api/v1/foods?q=a%2Fb`);
    expect(address('/api/v1/live/snapshots/member:1', origin)).toBe(`${origin}/api/v1/live/snapshots/member:1`);
    expect(address('https://evil.example/', origin)).toBe(`${origin}/api/v1/https://evil.example/`);
  });

  test('nothing else gets the token', () => {
    for (const path of [
      '//evil.example/api/v1/auth/me', '/\\evil.example/api/', '/app/', '/', '/api', '/apis/', '/api/../app/', '../../../app/',
      '/api/%2e%2e/app/', '/\t/evil.example/api/',
    ]) {
      expect(() => address(path, origin), path).toThrow();
    }
  });
});

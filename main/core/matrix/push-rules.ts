import { MatrixEvent, type MatrixClient } from "matrix-js-sdk";
import { PushProcessor } from "matrix-js-sdk/lib/pushprocessor.js";
import { ConditionKind, PushRuleKind, RuleId, TweakName, type IPushRules } from "matrix-js-sdk/lib/@types/PushRules.js";
import { isObject, list, object, type Json } from "../json.ts";
import { log } from "../log.ts";

type RoomFacts = {
  joinedCount: (roomId: string) => number;
  myName: (roomId: string) => string | undefined;
  levelFor: (roomId: string, userId: string) => boolean;
};
export type PushRules = ReturnType<typeof createPushRules>;

/** The specification's push rules over clear events, by the SDK's own processor with the little of a client and a room that it reads. */
export function createPushRules(me: string, facts: RoomFacts) {
  let rules: IPushRules = PushProcessor.rewriteDefaultRules(quiet, { global: {} }, me);
  const client = {
    credentials: { userId: me },
    getSafeUserId: () => me,
    getUserId: () => me,
    supportsIntentionalMentions: () => true,
    get pushRules() {
      return rules;
    },
    getRoom: (roomId: string) => {
      const getMember = (userId: string) => (userId === me ? { name: facts.myName(roomId) ?? me } : null);
      return {
        currentState: {
          members: {},
          getMember,
          getJoinedMemberCount: () => facts.joinedCount(roomId),
          mayTriggerNotifOfType: (_kind: string, userId: string) => facts.levelFor(roomId, userId),
        },
        getMember,
      };
    },
  };
  const processor = new PushProcessor(client as unknown as MatrixClient);
  processor.updateCachedPushRuleKeys(rules);
  let muted = new Set<string>();

  return {
    /** The account data `m.push_rules`. What is no set of rules is left aside. */
    setRules: (content: Json) => {
      if (!isObject(content["global"])) return;
      try {
        const given = PushProcessor.rewriteDefaultRules(quiet, content as unknown as IPushRules, me);
        processor.updateCachedPushRuleKeys(given);
        rules = given;
      } catch (error) {
        // the rules before stay in force: a sync must not fail for what some client wrote
        log.warn("the push rules have a wrong shape", error);
        processor.updateCachedPushRuleKeys(rules);
      }
      muted = mutedRooms(content);
    },
    isMuted: (roomId: string) => muted.has(roomId),
    /** 0: nothing, 1: notifies, 2: mentions the person. A rule that breaks on an event counts as none. */
    evaluate: (roomId: string, event: Json): 0 | 1 | 2 => {
      try {
        const actions = processor.actionsForEvent(new MatrixEvent({ ...event, room_id: roomId }));
        if (!actions.notify) return 0;
        return actions.tweaks[TweakName.Highlight] === true ? 2 : 1;
      } catch (error) {
        log.warn("a push rule could not be evaluated", error);
        return 1;
      }
    },
  };
}

const nothing = () => undefined;
const quiet = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing, getChild: () => quiet };

/** A room is muted by an override rule for it alone that does nothing, or a room rule that does nothing. */
function mutedRooms(content: Json): Set<string> {
  const global = object(content["global"]) ?? {};
  const silent = (rule: unknown) =>
    list(object(rule)?.["actions"]).every((action) => action === "dont_notify") && object(rule)?.["enabled"] !== false;
  const byRoom = list(global[PushRuleKind.RoomSpecific])
    .filter(silent)
    .map((rule) => object(rule)?.["rule_id"]);
  const byOverride = list(global[PushRuleKind.Override])
    .filter((rule) => silent(rule) && object(rule)?.["rule_id"] !== RuleId.Master)
    .flatMap((rule) => {
      const conditions = list(object(rule)?.["conditions"]).map(object);
      const only = conditions.length === 1 ? conditions[0] : undefined;
      return only?.["kind"] === ConditionKind.EventMatch && only["key"] === "room_id" ? [only["pattern"]] : [];
    });
  return new Set([...byRoom, ...byOverride].filter((id) => typeof id === "string"));
}

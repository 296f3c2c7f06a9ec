// Names that GenEval knows. Benchmark: GenEval, arXiv:2310.11513; repository djghosh13/geneval, prompts/object_names.txt.

export const tags = [
  "single_object",
  "two_object",
  "counting",
  "colors",
  "position",
  "color_attr",
] as const;
export type Tag = (typeof tags)[number];

export const relations = ["left of", "right of", "above", "below"] as const;
export type Relation = (typeof relations)[number];

/** What stands where the other would: A left of B means B right of A. */
export const opposite: Readonly<Record<Relation, Relation>> = {
  "left of": "right of",
  "right of": "left of",
  above: "below",
  below: "above",
};

export const colorNames = [
  "red",
  "orange",
  "yellow",
  "green",
  "blue",
  "purple",
  "pink",
  "brown",
  "black",
  "white",
] as const;

/** The 80 classes of COCO in its order, three of them renamed (computer mouse, tv remote, computer keyboard). */
export const objectNames: readonly string[] =
  `person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,
fire hydrant,stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,
elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,
skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,
wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,
broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,
dining table,toilet,tv,laptop,computer mouse,tv remote,computer keyboard,cell phone,microwave,oven,
toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush`
    .split(",")
    .map((name) => name.trim());

/** Classes that the training file of flow_grpo's `geneval_unseen_objects` leaves out; its test file has no others. */
export const unseenObjectNames: readonly string[] =
  `skis,baseball bat,elephant,frisbee,bed,book,apple,
skateboard,umbrella,car,wine glass,cup,clock,toilet,microwave,bowl,toothbrush,fire hydrant,traffic light,dog`
    .split(",")
    .map((name) => name.trim());
